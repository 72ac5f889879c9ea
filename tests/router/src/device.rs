//! A TUN device: what the kernel routes to it comes out of a file, and what is written to the file comes in. The only `unsafe` here.
#![allow(unsafe_code, reason = "TUNSETIFF is an ioctl, and no crate of the tree wraps it")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longer than any packet the kernel may hand over at an MTU of 1500.
pub const MAX_PACKET: usize = 2048;
/// Room for the name and its terminating zero.
const NAME_LENGTH: usize = 16;

/// One TUN device. It is gone when this is dropped, or when the process dies.
#[derive(Debug)]
pub struct Device {
    file: AsyncFd<File>,
}

/// The part of `struct ifreq` that TUNSETIFF reads, at the length of the whole.
#[repr(C)]
struct Request {
    name: [u8; NAME_LENGTH],
    flags: libc::c_short,
    rest: [u8; 22],
}

impl Device {
    /// Makes a device of this name in the namespace of the calling thread.
    ///
    /// # Errors
    /// Without root, without `/dev/net/tun`, or when the name is taken or longer than 15 bytes.
    pub fn create(name: &str) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun").map_err(
                |error| io::Error::new(error.kind(), format!("/dev/net/tun cannot be opened (is this root?): {error}")),
            )?;
        let mut request = Request { name: [0; NAME_LENGTH], flags: 0, rest: [0; 22] };
        if name.len() >= NAME_LENGTH {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (slot, byte) in request.name.iter_mut().zip(name.bytes()) {
            *slot = byte;
        }
        request.flags =
            libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the descriptor is open, and the request is as long as the kernel's `struct ifreq` and lives through the call.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a `File` owns its descriptor, always names the same one, and keeps it open until the `AsyncFd` drops it.
        Ok(Self { file: unsafe { AsyncFd::register(file) }? })
    }

    /// Waits for the next packet that the kernel routed here.
    ///
    /// # Errors
    /// When the device is gone.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.async_io(Interest::READABLE, |mut file| file.read(buffer)).await
    }

    /// The next packet, if one is there.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.file.try_io(Interest::READABLE, |mut file| file.read(buffer)) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the kernel a packet. False when it does not want it: the device is down, or the packet is none.
    pub fn write(&self, packet: &[u8]) -> bool {
        let mut file: &File = self.file.get_ref();
        file.write(packet).is_ok()
    }
}
