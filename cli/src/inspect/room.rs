//! The memory for bodies that are on their way, the reading of a body into it, and the discarding
//! of one that is not read.
//!
//! A body reserves room while it arrives, not by the length that its head promises: a silent
//! client takes no room from others. The room of a whole body is kept until the receiver answered.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// The longest body that is accepted: 16 MiB, far more than a delivery.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// How many KiB of bodies may be on their way at once: 64 MiB.
const MAX_KIB_ON_THEIR_WAY: usize = 64 * 1024;

/// How many KiB are reserved at once.
const STEP_KIB: usize = 64;

/// How long a request waits for room before it is answered 503.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a sender may send nothing of a body.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a sender may take for a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// How much of the rest of a body is discarded, in bytes.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;

/// How long the rest of a body is discarded.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The room for all bodies of a port.
pub(crate) struct Room(Semaphore);

/// Why a body was not read.
#[derive(Debug, PartialEq)]
pub(crate) enum Unread {
    TooLong,
    BrokenOff,
    /// Other bodies need all the room.
    NoRoom,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(MAX_KIB_ON_THEIR_WAY))
    }

    /// Reads a body up to the limit, into memory that is exactly as long, and returns it with its
    /// room.
    pub(crate) async fn read<B>(&self, body: B) -> Result<(Bytes, SemaphorePermit<'_>), Unread>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let read = timeout(BODY_TIMEOUT, self.read_frames(body)).await;
        read.unwrap_or(Err(Unread::BrokenOff))
    }

    async fn read_frames<B>(&self, mut body: B) -> Result<(Bytes, SemaphorePermit<'_>), Unread>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
            return Err(Unread::TooLong);
        }
        let mut permit = self.reserve(0).await?;
        // A frame is a part of the connection's buffer, all of which it would keep: it is copied.
        let mut read = Vec::new();
        loop {
            let next = timeout(FRAME_TIMEOUT, body.frame()).await;
            let Some(frame) = next.map_err(|_| Unread::BrokenOff)? else {
                break;
            };
            let Ok(data) = frame.map_err(|_| Unread::BrokenOff)?.into_data() else {
                continue;
            };
            let length = read.len() + data.remaining();
            if length > MAX_BODY_BYTES {
                return Err(Unread::TooLong);
            }
            let missing = length.div_ceil(1024).saturating_sub(permit.num_permits());
            if missing > 0 {
                permit.merge(self.reserve(missing.next_multiple_of(STEP_KIB)).await?);
            }
            read.extend_from_slice(&data);
        }
        let spare = permit
            .num_permits()
            .saturating_sub(read.len().div_ceil(1024));
        drop(permit.split(spare));
        Ok((Bytes::from(read.into_boxed_slice()), permit))
    }

    async fn reserve(&self, kib: usize) -> Result<SemaphorePermit<'_>, Unread> {
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        match timeout(ROOM_TIMEOUT, self.0.acquire_many(kib)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Unread::NoRoom),
        }
    }
}

/// Reads the rest of a body in the background while the answer is sent. A connection that is closed
/// with unread bytes is reset, and its sender may then never see the answer. Each connection has
/// one body, so the limit of connections is the limit of these tasks too.
pub(crate) fn discard<B>(mut body: B)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    tokio::spawn(timeout(DISCARD_TIMEOUT, async move {
        let mut left = MAX_DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full};

    use super::*;

    #[tokio::test]
    async fn a_body_keeps_the_room_of_its_own_length() {
        let room = Room::new();
        assert_eq!(room.0.available_permits(), MAX_KIB_ON_THEIR_WAY);
        let (body, permit) = room
            .read(Full::new(Bytes::from(vec![1; 1_500])))
            .await
            .unwrap();
        assert_eq!((body.len(), permit.num_permits()), (1_500, 2));
        let (body, empty) = room.read(Empty::<Bytes>::new()).await.unwrap();
        assert_eq!((body.len(), empty.num_permits()), (0, 0));
        assert_eq!(room.0.available_permits(), MAX_KIB_ON_THEIR_WAY - 2);
        drop(permit);
        assert_eq!(room.0.available_permits(), MAX_KIB_ON_THEIR_WAY);
        let long = Full::new(Bytes::from(vec![0; MAX_BODY_BYTES + 1]));
        assert_eq!(room.read(long).await.unwrap_err(), Unread::TooLong);
        assert_eq!(room.0.available_permits(), MAX_KIB_ON_THEIR_WAY);
    }
}
