//! Listens for signaling and hands each command to the shard of its Room.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wire::RoomId;
use wire::link::Request;

use crate::shard::ShardInbox;

/// Serves until stopped (`None`), until signaling is gone (`None`), or until a shard dies (its index).
pub(crate) async fn serve(
    mut requests: mpsc::Receiver<Request>,
    inboxes: &[ShardInbox],
    ends: &mut [oneshot::Receiver<()>],
    stop: CancellationToken,
) -> Option<usize> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return None,
            index = first_end(ends) => return Some(index),
            request = requests.recv() => {
                let request = request?;
                let index = shard_of(request.command.room(), inboxes.len());
                if let Some(inbox) = inboxes.get(index) {
                    // A full inbox makes control wait here; a dead shard drops the request, which answers `Unavailable`.
                    inbox.send(request).await;
                }
            }
        }
    }
}

/// A Room and all its Peers stay on one shard for as long as the number of shards stays.
fn shard_of(room: RoomId, shards: usize) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(room);
    usize::try_from(hash % shards.max(1) as u64).unwrap_or(0)
}

async fn first_end(ends: &mut [oneshot::Receiver<()>]) -> usize {
    std::future::poll_fn(|context| {
        for (index, end) in ends.iter_mut().enumerate() {
            if std::pin::Pin::new(end).poll(context).is_ready() {
                return std::task::Poll::Ready(index);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_spread_and_stay() {
        let mut seen = [0_u32; 4];
        for _ in 0..400 {
            let room = RoomId::random();
            let index = shard_of(room, 4);
            assert_eq!(index, shard_of(room, 4));
            seen[index] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
