//! An RPC of another proto, with its annotation, is on every wire with no code for it: only the service is written here.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use http::Request;
use serde_json::{Value, json};
use tonic::{Response, Status};
use wirephoto::guard::{self, Access, Origins, Policy};
use wirephoto::wire::method::Method;
use wirephoto::wire::{Limits, Wires};

use proto::library::v1 as pb;
use proto::library::v1::library_service_client::LibraryServiceClient;
use proto::library::v1::library_service_server::{LibraryService, LibraryServiceServer};

use crate::harness::listen;

/// What build.rs made of tests/proto.
pub mod proto {
    pub mod library {
        #[allow(clippy::all)]
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/tests/library.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/tests/library.v1.serde.rs"));
            #[allow(dead_code)]
            pub mod table {
                include!(concat!(env!("OUT_DIR"), "/tests/library.v1.table.rs"));
            }
        }
    }
}

pub struct Library;

fn book(name: String) -> pb::Book {
    pb::Book { name, title: "Moby-Dick".into(), pages: 635, genre: pb::Genre::Novel.into(), ..Default::default() }
}

#[tonic::async_trait]
impl LibraryService for Library {
    async fn get_book(
        &self,
        request: tonic::Request<pb::GetBookRequest>,
    ) -> Result<Response<pb::GetBookResponse>, Status> {
        let name = request.into_inner().name;
        if name.contains("missing") {
            return Err(Status::not_found(format!("no {name}: 100 % sure")));
        }
        Ok(Response::new(pb::GetBookResponse { book: Some(book(name)) }))
    }

    async fn search_books(
        &self,
        request: tonic::Request<pb::SearchBooksRequest>,
    ) -> Result<Response<pb::SearchBooksResponse>, Status> {
        let understood = Some(request.into_inner());
        Ok(Response::new(pb::SearchBooksResponse { understood, books: vec![book("shelves/1/books/1".into())] }))
    }

    type ReadBookStream = BoxStream<'static, Result<pb::ReadBookResponse, Status>>;

    async fn read_book(
        &self,
        request: tonic::Request<pb::ReadBookRequest>,
    ) -> Result<Response<Self::ReadBookStream>, Status> {
        let pb::ReadBookRequest { fail_after, .. } = request.into_inner();
        let lines = ["Call me Ishmael.", "Some years ago,", "never mind how long"];
        let mut answers: Vec<_> =
            lines.into_iter().map(|line| Ok(pb::ReadBookResponse { line: line.into() })).collect();
        if fail_after != 0 {
            answers.truncate(fail_after.max(0) as usize);
            answers.push(Err(Status::data_loss("a page is torn")));
        }
        Ok(Response::new(stream::iter(answers).boxed()))
    }

    async fn update_book(
        &self,
        request: tonic::Request<pb::UpdateBookRequest>,
    ) -> Result<Response<pb::UpdateBookResponse>, Status> {
        let pb::UpdateBookRequest { book, update_mask } = request.into_inner();
        Ok(Response::new(pb::UpdateBookResponse { book, update_mask }))
    }

    async fn describe_catalogue(
        &self,
        request: tonic::Request<pb::DescribeCatalogueRequest>,
    ) -> Result<Response<pb::DescribeCatalogueResponse>, Status> {
        let pb::DescribeCatalogueRequest { catalogue, words, counts, size, when, words_of, update_mask } =
            request.into_inner();
        Ok(Response::new(pb::DescribeCatalogueResponse { catalogue, words, counts, size, when, words_of, update_mask }))
    }

    async fn delete_book(
        &self,
        _: tonic::Request<pb::DeleteBookRequest>,
    ) -> Result<Response<pbjson_types::Empty>, Status> {
        Ok(Response::new(pbjson_types::Empty {}))
    }
}

/// The same stack of wires, over another service.
pub async fn start() -> String {
    const TABLES: &[&[Method]] = &[pb::table::LIBRARY_SERVICE];
    let routes = tonic::service::Routes::new(LibraryServiceServer::new(Library)).prepare().into_axum_router();
    let wires = Wires::new(Arc::new(routes), TABLES, Limits::default()).unwrap();
    let wires = Arc::new(wires);
    let router = axum::Router::new()
        .fallback(async move |request: Request<_>| wires.call(guard::spoken(&request), request).await);
    let policy = Policy { origins: Origins::new(Vec::new(), true), anonymous: Access::Write };
    format!("http://{}", listen(guard::around(router, policy, TABLES)).await)
}

pub async fn json_of(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn another_service_answers_on_grpc_and_grpc_web() {
    let url = start().await;
    let name = || pb::GetBookRequest { name: "shelves/1/books/2".into() };
    let mut grpc = LibraryServiceClient::connect(url.clone()).await.unwrap();
    let by_grpc = grpc.get_book(name()).await.unwrap().into_inner();
    assert_eq!(by_grpc.book.as_ref().unwrap().title, "Moby-Dick");

    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let web = tower::ServiceBuilder::new().layer(tonic_web::GrpcWebClientLayer::new()).service(http);
    let mut web = LibraryServiceClient::with_origin(web, url.parse().unwrap());
    assert_eq!(web.get_book(name()).await.unwrap().into_inner(), by_grpc);
    let request = pb::ReadBookRequest { name: name().name, fail_after: 1 };
    let mut lines = web.read_book(request).await.unwrap().into_inner();
    assert_eq!(lines.message().await.unwrap().unwrap().line, "Call me Ishmael.");
    assert_eq!(lines.message().await.unwrap_err().code(), tonic::Code::DataLoss);
}

#[tokio::test]
async fn another_service_answers_json() {
    let url = start().await;
    let http = reqwest::Client::new();

    let (status, book) = json_of(http.get(format!("{url}/v1/shelves/1/books/2"))).await;
    assert_eq!(status, 200);
    let expected = json!({"name": "shelves/1/books/2", "title": "Moby-Dick", "pages": "635", "genre": "GENRE_NOVEL"});
    assert_eq!(book, expected);
    let (_, by_binding) = json_of(http.get(format!("{url}/v1/books/shelves/1/books/2"))).await;
    assert_eq!(by_binding, json!({"book": expected}), "a binding of its own says its own response_body");

    let (status, error) = json_of(http.get(format!("{url}/v1/shelves/1/books/missing"))).await;
    assert_eq!((status, &error["code"]), (404, &json!(5)));
    assert_eq!(error["message"], "no shelves/1/books/missing: 100 % sure");

    let search = "v1/books:search?query=whale%20%26+co&genres=GENRE_NOVEL&genres=2&pages.atLeast=3&pages.at_most=9\
                  &inPrint=true&edition=4&publishedAfter=2020-01-01T00:00:00Z&weight=1.5";
    let (status, found) = json_of(http.get(format!("{url}/{search}"))).await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(
        found["understood"],
        json!({
            "query": "whale & co", "genres": ["GENRE_NOVEL", "GENRE_ATLAS"], "pages": {"atLeast": "3", "atMost": "9"},
            "inPrint": true, "edition": 4, "publishedAfter": "2020-01-01T00:00:00Z", "weight": 1.5,
        }),
    );

    let body = json!({"title": "Typee", "authors": ["H. Melville"], "pages": null});
    let (status, updated) = json_of(http.patch(format!("{url}/v1/shelves/1/books/2")).json(&body)).await;
    assert_eq!(status, 200, "{updated}");
    assert_eq!(updated["updateMask"], "title,authors,pages");
    assert_eq!(updated["book"], json!({"name": "shelves/1/books/2", "title": "Typee", "authors": ["H. Melville"]}));
}

#[tokio::test]
async fn another_services_stream_is_lines_of_json() {
    let url = start().await;
    let read = |query: &str| reqwest::get(format!("{url}/v1/shelves/1/books/2:read{query}"));
    let lines = read("").await.unwrap();
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    let lines: Vec<Value> =
        lines.text().await.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], json!({"line": "Some years ago,"}));

    let torn = read("?failAfter=2").await.unwrap().text().await.unwrap();
    let last: Value = serde_json::from_str(torn.lines().nth(2).unwrap()).unwrap();
    assert_eq!(last, json!({"error": {"code": 15, "message": "a page is torn"}}));

    // A failure before the first item has its own status.
    let at_once = read("?failAfter=-1").await.unwrap();
    assert_eq!(at_once.status(), 500);
    assert_eq!(at_once.json::<Value>().await.unwrap()["code"], 15);
}
