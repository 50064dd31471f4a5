//! Puts a photograph, lists it, gets it back and compares: cargo run --example put_and_get PHOTO [URL]

use std::error::Error;

use futures::TryStreamExt as _;
use wirephoto::client::{Client, ClientOptions, Selection, UploadSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: put_and_get PHOTO [URL]")?;
    let servers = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8080".into()).parse()?;
    let client = Client::new(ClientOptions { servers, ..ClientOptions::default() });

    let put = client.upload_file(UploadSpec::default(), &path, ()).await?;
    let name = put.image.ok_or("the server answered without the image")?.name;
    let listed = client.list(Selection { filter: format!("name = \"{name}\""), ..Selection::default() });
    for image in listed.try_collect::<Vec<_>>().await? {
        println!("{} {} {}x{}, {} bytes", image.name, image.media_type, image.width, image.height, image.size_bytes);
    }
    let back = client.download(&name, ..).await?.try_collect::<Vec<_>>().await?.concat();
    println!("same bytes: {}", back == std::fs::read(&path)?);
    client.delete(&name, "", false).await?;
    Ok(())
}
