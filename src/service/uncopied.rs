//! Answers whose messages end in an image's bytes: those are sent as they are, and only what is before them is encoded.
//!
//! tonic copies every message into a buffer of its own. So a call of one plain message is [`answered`] without it. Any other
//! leaves its messages in the extensions of an answer without any, and around the services [`filled`] makes a body of them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;

use crate::io::Outlet;
use crate::wire::envelope::{Deframer, HEAD_LEN, put_head};

/// Messages in one another, at most, whose last holds the bytes.
const LEVELS: usize = 3;

/// A message with its envelope: its beginning, and the bytes that it ends in.
#[derive(Debug, Clone)]
pub(super) struct Uncopied {
    beginning: Bytes,
    end: Bytes,
}

impl Uncopied {
    /// A message without bytes of an image.
    pub(super) fn of(message: &impl Message) -> Self {
        Self::joined(&[], message)
    }

    /// A message without bytes of an image, of which some fields are encoded already: encodings one after another are that of
    /// all their fields.
    pub(super) fn joined(encoded: &[u8], fields: &impl Message) -> Self {
        let len = encoded.len() + fields.encoded_len();
        let mut beginning = BytesMut::with_capacity(HEAD_LEN + len);
        put_head(&mut beginning, 0, len);
        beginning.put_slice(encoded);
        fields.encode_raw(&mut beginning);
        Self { beginning: beginning.freeze(), end: Bytes::new() }
    }

    /// A message of `fields`, a message in the field `outer[0]` of it, one in the field `outer[1]` of that, and so on; of the
    /// innermost, the field `inner` holds `bytes`. `outer` has fewer than [`LEVELS`].
    pub(super) fn ending(fields: &impl Message, outer: &[u32], inner: u32, bytes: Bytes) -> Self {
        // From the inside out: each length counts what is within.
        let mut levels = [(0, 0); LEVELS];
        let mut within = bytes.len();
        for (level, tag) in levels.iter_mut().zip([inner].iter().chain(outer.iter().rev())) {
            *level = (*tag, within as u64);
            within += key_len(*tag) + encoded_len_varint(within as u64);
        }
        let len = fields.encoded_len() + within;
        // Of what has no room to spare, bytes are made without another allocation.
        let mut beginning = BytesMut::with_capacity(HEAD_LEN + len - bytes.len());
        put_head(&mut beginning, 0, len);
        fields.encode_raw(&mut beginning);
        for (tag, len) in levels[..=outer.len()].iter().rev() {
            encode_key(*tag, WireType::LengthDelimited, &mut beginning);
            encode_varint(*len, &mut beginning);
        }
        Self { beginning: beginning.freeze(), end: bytes }
    }
}

/// The messages of an answer, waiting in its extensions.
#[derive(Clone)]
struct Waiting(Arc<Mutex<Option<Messages>>>);

pub(super) type Messages = BoxStream<'static, Result<Uncopied, Status>>;

/// The answer without messages that these wait in.
pub(super) fn answer<T>(messages: Messages) -> tonic::Response<BoxStream<'static, Result<T, Status>>>
where
    T: Send + 'static,
{
    let mut response = tonic::Response::new(futures::stream::empty().boxed());
    response.extensions_mut().insert(Waiting(Arc::new(Mutex::new(Some(messages)))));
    response
}

/// The answer to a request of one message that is not compressed. tonic has no part in it: what it makes ready for each call,
/// two buffers among it, would take a small image as long as all the rest.
pub(super) async fn answered<Q>(
    request: Request<Body>,
    answer: impl AsyncFnOnce(Q, Option<Outlet>) -> Result<Messages, Status>,
) -> Response<Body>
where
    Q: Message + Default,
{
    let outlet = request.extensions().get().cloned();
    let messages = match only_message(request.into_body()).await {
        Ok(message) => answer(message, outlet).await,
        Err(status) => Err(status),
    };
    match messages {
        Ok(messages) => {
            let mut response = Response::new(body(messages));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
        Err(status) => status.into_http(),
    }
}

/// The message of a request, which was checked to have no more than one, and that one whole.
async fn only_message<Q: Message + Default>(mut body: Body) -> Result<Q, Status> {
    let mut deframer = Deframer::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| Status::from_error(error.into()))?.into_data() {
            deframer.push(data);
        }
    }
    match deframer.next_message() {
        Some((0, message)) => Q::decode(message).map_err(|error| Status::internal(error.to_string())),
        Some((1, _)) => {
            Err(Status::internal("the message says that it is compressed, and `grpc-encoding` does not say how"))
        }
        Some((flags, _)) => Err(Status::internal(format!("the message has unknown flags: {flags}"))),
        None => Err(Status::internal("the request has no message")),
    }
}

/// The answer with the messages that wait in it, if any do.
pub(super) fn filled(mut response: Response<Body>) -> Response<Body> {
    let waiting = response.extensions_mut().remove::<Waiting>();
    let messages = waiting.and_then(|Waiting(messages)| messages.lock().unwrap_or_else(PoisonError::into_inner).take());
    match messages {
        None => response,
        Some(messages) => response.map(|_| body(messages)),
    }
}

fn body(messages: Messages) -> Body {
    Body::new(Filled { messages: Some(messages), end: Bytes::new() })
}

struct Filled {
    /// `None` once the trailers are given.
    messages: Option<Messages>,
    /// The end of the message whose beginning is given.
    end: Bytes,
}

impl http_body::Body for Filled {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if !this.end.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.end)))));
        }
        let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
        let status = match ready!(messages.poll_next_unpin(cx)) {
            Some(Ok(message)) => {
                this.end = message.end;
                return Poll::Ready(Some(Ok(Frame::data(message.beginning))));
            }
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        this.messages = None;
        let mut trailers = HeaderMap::new();
        let written = status.add_header(&mut trailers);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::wirephoto::v1::{
        ChecksummedData, DownloadImageResponse, DownloadImagesResponse, download_images_response::Item,
    };

    fn part(data: Bytes) -> DownloadImageResponse {
        DownloadImageResponse { chunk: Some(ChecksummedData { data, crc32c: None }), ..Default::default() }
    }

    fn message(uncopied: &Uncopied) -> Bytes {
        let mut all = BytesMut::from(&uncopied.beginning[..]);
        all.extend_from_slice(&uncopied.end);
        let head: [u8; 5] = all.split_to(5)[..].try_into().unwrap();
        assert_eq!((head[0], u32::from_be_bytes(head[1..].try_into().unwrap()) as usize), (0, all.len()));
        all.freeze()
    }

    proptest! {
        #[test]
        fn what_is_sent_is_the_message(
            data in prop::collection::vec(any::<u8>(), 0..70_000),
            index in any::<i64>(),
            last in any::<bool>(),
        ) {
            let data = Bytes::from(data);
            let sent = message(&Uncopied::ending(&(), &[3], 1, data.clone()));
            prop_assert_eq!(DownloadImageResponse::decode(sent).unwrap(), part(data.clone()));
            let fields = DownloadImagesResponse { index, item: None, last };
            let sent = message(&Uncopied::ending(&fields, &[2, 3], 1, data.clone()));
            let whole = DownloadImagesResponse { item: Some(Item::Part(part(data))), ..fields };
            prop_assert_eq!(DownloadImagesResponse::decode(sent).unwrap(), whole.clone());
            prop_assert_eq!(message(&Uncopied::of(&whole)), Bytes::from(whole.encode_to_vec()));
        }
    }

    async fn sent(messages: Vec<Result<Uncopied, Status>>) -> (Vec<u8>, HeaderMap) {
        let (_, _, extensions) = answer::<()>(futures::stream::iter(messages).boxed()).into_parts();
        let mut response = Response::new(Body::empty());
        *response.extensions_mut() = extensions;
        let body = filled(response).into_body();
        let all = body.collect().await.unwrap();
        let trailers = all.trailers().unwrap().clone();
        (all.to_bytes().to_vec(), trailers)
    }

    #[tokio::test]
    async fn messages_end_in_their_status() {
        let one = Uncopied::ending(&(), &[3], 1, Bytes::from_static(b"abc"));
        let (bytes, trailers) = sent(vec![Ok(one.clone()), Ok(Uncopied::of(&()))]).await;
        assert_eq!(bytes, [&one.beginning[..], b"abc", &[0; 5]].concat());
        assert_eq!(trailers["grpc-status"], "0");
        let (bytes, trailers) = sent(vec![Ok(one.clone()), Err(Status::data_loss("gone")), Ok(one)]).await;
        assert_eq!(
            (bytes.len(), &trailers["grpc-status"], &trailers["grpc-message"]),
            (12, &"15".parse().unwrap(), &"gone".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn other_answers_stay() {
        let body = filled(Response::new(Body::from("as it was"))).into_body();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "as it was");
    }
}
