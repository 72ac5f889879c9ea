//! Carries packets between two devices through two links: `up` from near to far, `down` from far to near.

use std::io;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::control::{Change, Order, State};
use crate::device::{Device, MAX_PACKET};
use crate::link::Link;

/// Packets taken from one device before the other one has its turn.
const BURST: usize = 64;

/// Both devices and both links.
#[derive(Debug)]
pub struct Router {
    near: Device,
    far: Device,
    up: Link,
    down: Link,
}

#[expect(clippy::disallowed_methods, reason = "here real time enters; the links take `now`")]
fn now() -> Instant {
    Instant::now()
}

impl Router {
    /// A perfect network. The seed decides every later chance.
    #[must_use]
    pub fn new(near: Device, far: Device, seed: u64) -> Self {
        // Two links of one seed would lose the same packets at the same time.
        Self { near, far, up: Link::new(seed), down: Link::new(!seed) }
    }

    /// Runs until the orders end.
    ///
    /// # Errors
    /// When a device is gone.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> io::Result<()> {
        let (mut from_near, mut from_far) = ([0; MAX_PACKET], [0; MAX_PACKET]);
        loop {
            self.deliver();
            let due = self.up.next_due().into_iter().chain(self.down.next_due()).min();
            let wake = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = self.near.read(&mut from_near) => {
                    take(&self.near, &mut self.up, &mut from_near, read?)?;
                }
                read = self.far.read(&mut from_far) => {
                    take(&self.far, &mut self.down, &mut from_far, read?)?;
                }
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return Ok(()),
                },
                () = wake => {}
            }
        }
    }

    fn deliver(&mut self) {
        let now = now();
        while let Some(packet) = self.up.poll(now) {
            self.far.write(&packet);
        }
        while let Some(packet) = self.down.poll(now) {
            self.near.write(&packet);
        }
    }

    fn obey(&mut self, order: Order) {
        let Change { up, down } = order.change;
        if let Some(conditions) = up {
            self.up.set(conditions);
        }
        if let Some(conditions) = down {
            self.down.set(conditions);
        }
        // Who asked may be gone already.
        let _ = order.reply.send(State { up: self.up.counters(), down: self.down.counters() });
    }
}

/// The packet that was read, and those behind it.
fn take(device: &Device, link: &mut Link, buffer: &mut [u8], first: usize) -> io::Result<()> {
    let now = now();
    let mut length = first;
    for _ in 0..BURST {
        link.offer(now, buffer.get(..length).unwrap_or_default());
        match device.try_read(buffer)? {
            Some(next) => length = next,
            None => return Ok(()),
        }
    }
    link.offer(now, buffer.get(..length).unwrap_or_default());
    Ok(())
}
