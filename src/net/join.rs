//! Answers whose small pieces, such as the heads of messages, go with what follows them: each piece is a frame.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};

use crate::io::{Outlet, Payload, WORTH_KEEPING};

type Next<E> = Poll<Option<Result<Frame<Payload>, E>>>;

pin_project_lite::pin_project! {
    /// An answer's body in fewer pieces. None waits for another: those go together that are there.
    ///
    /// Without an outlet they are as the body gives them: HTTP/1.1 has no frames, and nothing tells there what is mapped.
    pub(super) struct Joined<B: Body> {
        #[pin]
        body: B,
        outlet: Option<Outlet>,
        // What came and did not go with the pieces before it.
        next: Option<Option<Result<Frame<Payload>, B::Error>>>,
    }
}

impl<B: Body> Joined<B> {
    /// What the body gives is lent at `outlet`, if there is one.
    pub(super) fn new(body: B, outlet: Option<Outlet>) -> Self {
        Self { body, outlet, next: None }
    }
}

impl<B: Body<Data = Bytes>> Body for Joined<B> {
    type Data = Payload;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Next<B::Error> {
        let mut this = self.project();
        let Some(outlet) = this.outlet else {
            return this.body.poll_frame(cx).map_ok(|frame| frame.map_data(Payload::from));
        };
        let mut front = Bytes::new();
        loop {
            let next = match this.next.take() {
                Some(next) => Poll::Ready(next),
                None => {
                    this.body.as_mut().poll_frame(cx).map_ok(|frame| frame.map_data(|data| Payload::lent(data, outlet)))
                }
            };
            match in_memory(next) {
                Ok(data) => match data.into_few() {
                    Ok(few) => front = joined(front, few),
                    Err(data) => return given(data.behind(front)),
                },
                Err(next) if front.is_empty() => return next,
                Err(next) => {
                    if let Poll::Ready(next) = next {
                        *this.next = Some(next);
                    }
                    return given(front.into());
                }
            }
            if front.len() >= WORTH_KEEPING || this.body.is_end_stream() {
                return given(front.into());
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.next {
            Some(next) => next.is_none(),
            None => self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        match &self.next {
            Some(Some(Ok(frame))) => hint + SizeHint::with_exact(frame.data_ref().map_or(0, Payload::remaining) as u64),
            _ => hint,
        }
    }
}

fn given<E>(data: Payload) -> Next<E> {
    Poll::Ready(Some(Ok(Frame::data(data))))
}

/// Data that others may share a frame with. Those of a map begin with it, so that its pages are sent whole.
fn in_memory<E>(next: Next<E>) -> Result<Payload, Next<E>> {
    match next {
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) if data.is_mapped() => Err(given(data)),
            Ok(data) => Ok(data),
            Err(trailers) => Err(Poll::Ready(Some(Ok(trailers)))),
        },
        next => Err(next),
    }
}

fn joined(front: Bytes, few: Bytes) -> Bytes {
    if front.is_empty() {
        return few;
    }
    let len = front.len() + few.len();
    front.chain(few).copy_to_bytes(len)
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    use super::*;

    type Step = Result<Frame<Bytes>, &'static str>;

    const LARGE: usize = 5000;

    fn piece(len: usize) -> Step {
        Ok(Frame::data(vec![len as u8; len].into()))
    }

    /// What comes of these, where `None` is a while in which nothing is there: lengths of pieces, `Err` for any other end.
    async fn outcome(steps: Vec<Option<Step>>) -> (Vec<Result<usize, String>>, Vec<u8>) {
        let steps = stream::iter(steps).filter_map(async |step| {
            if step.is_none() {
                tokio::task::yield_now().await;
            }
            step
        });
        let mut body = Joined::new(StreamBody::new(steps.boxed()), Some(Outlet::default()));
        let (mut given, mut bytes) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            given.push(match frame.map(Frame::into_data) {
                Ok(Ok(mut data)) => {
                    let part = data.copy_to_bytes(data.remaining());
                    bytes.extend_from_slice(&part);
                    Ok(part.len())
                }
                Ok(Err(trailers)) => Err(format!("{} trailers", trailers.trailers_ref().unwrap().len())),
                Err(error) => Err(error.to_owned()),
            });
        }
        (given, bytes)
    }

    #[tokio::test]
    async fn small_pieces_go_with_what_follows_them() {
        let trailers = || Some(Ok(Frame::trailers(HeaderMap::new())));
        let ended = || Err("0 trailers".to_owned());
        let some = |len| Some(piece(len));
        let cases = [
            (vec![some(200), some(10), some(LARGE), trailers()], vec![Ok(210 + LARGE), ended()]),
            (vec![some(LARGE), some(10), trailers()], vec![Ok(LARGE), Ok(10), ended()]),
            (vec![some(10), None, some(LARGE), some(7)], vec![Ok(10), Ok(LARGE), Ok(7)]),
            (vec![some(10), some(20), None, some(30)], vec![Ok(30), Ok(30)]),
            (vec![some(1500), some(1500), some(1500)], vec![Ok(3000), Ok(1500)]),
            (vec![some(10), Some(Err("broken"))], vec![Ok(10), Err("broken".to_owned())]),
            (vec![trailers()], vec![ended()]),
            (vec![], vec![]),
        ];
        for (steps, expected) in cases {
            let shown = format!("{steps:?}");
            assert_eq!(outcome(steps).await.0, expected, "{shown}");
        }
    }

    #[tokio::test]
    async fn a_known_end_is_told_with_the_last_piece() {
        let outlet = Some(Outlet::default());
        let full = http_body_util::Full::new(Bytes::from_static(b"all"));
        let mut body = Joined::new(full, outlet.clone());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().remaining(), 3);
        assert!(body.is_end_stream());
        // Of this one it is known once it was asked for more.
        let mut body = Joined::new(StreamBody::new(stream::iter([piece(3)])), outlet);
        body.frame().await.unwrap().unwrap();
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    /// Bytes of a map among them are not told from others there, and user code may not read those.
    #[tokio::test]
    async fn without_an_outlet_pieces_stay_as_they_are() {
        let pieces = [10, 100, LARGE, 20].map(|len| Bytes::from(vec![7; len]));
        let steps = pieces.clone().map(|piece| Ok::<_, &str>(Frame::data(piece)));
        let mut body = Joined::new(StreamBody::new(stream::iter(steps)), None);
        for piece in pieces {
            let given = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!((given.chunk().as_ptr(), given.remaining()), (piece.as_ptr(), piece.len()));
        }
        assert!(body.frame().await.is_none());
    }

    /// User code never reads a map; and where its pages begin, a frame does.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn bytes_of_a_file_go_by_themselves() {
        const PIECE: u64 = 1 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(PIECE + 100).unwrap();
        let file = std::sync::Arc::new(crate::io::SharedFile::new(file, PIECE + 100));
        let outlet = Outlet::default();
        let sent = crate::io::lent(file, 0..PIECE + 100, PIECE, outlet.clone()).map(|piece| piece.map(Frame::data));
        let around = || stream::iter([Ok(Frame::data(Bytes::from_static(b"head")))]);
        let body = StreamBody::new(around().chain(sent).chain(around()).boxed());
        let mut body = Joined::new(body, Some(outlet));
        // The second came with the first, and is to come still.
        for (len, mapped, known) in [(4, false, PIECE), (PIECE as usize, true, 0), (100, true, 0), (4, false, 0)] {
            let payload = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!((payload.remaining(), payload.is_mapped(), body.size_hint().lower()), (len, mapped, known));
        }
        assert!(body.frame().await.is_none());
    }

    proptest! {
        #[test]
        fn every_byte_goes_in_order(lens in prop::collection::vec(prop_oneof![Just(None), (0..4000usize).prop_map(Some)], 0..20)) {
            let steps = lens.iter().map(|len| len.map(piece)).collect();
            let expected: Vec<u8> = lens.iter().flatten().flat_map(|len| vec![*len as u8; *len]).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (given, bytes) = runtime.block_on(outcome(steps));
            prop_assert_eq!(bytes, expected);
            prop_assert!(given.len() <= lens.len());
        }
    }
}
