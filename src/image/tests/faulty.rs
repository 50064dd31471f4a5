//! A store that fails when told to.

use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};

use super::*;

type StoreResult<T> = Result<T, StoreError>;

/// How a write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no space for it.
    Full,
    /// It is done, but the answer is lost.
    AnswerLost,
}

/// Memory whose writes below one folder fail.
#[derive(Debug, Default)]
pub(super) struct Faulty {
    inner: InMemory,
    fault: Arc<Mutex<Option<(&'static str, Fault)>>>,
}

impl Faulty {
    pub(super) fn fail(&self, folder: &'static str, fault: Fault) {
        *self.fault.lock().unwrap() = Some((folder, fault));
    }

    pub(super) fn mend(&self) {
        *self.fault.lock().unwrap() = None;
    }
}

fn fault_at(fault: &Mutex<Option<(&'static str, Fault)>>, path: &Path) -> Option<Fault> {
    let fault = *fault.lock().unwrap();
    fault.filter(|(folder, _)| path.as_ref().starts_with(folder)).map(|(_, fault)| fault)
}

fn failure(fault: Fault) -> StoreError {
    match fault {
        // As a full folder does.
        Fault::Full => {
            let source = Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
            StoreError::Generic { store: "LocalFileSystem", source }
        }
        Fault::AnswerLost => StoreError::Generic { store: "S3", source: "connection reset".into() },
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        match fault_at(&self.fault, path) {
            None => self.inner.put_opts(path, payload, options).await,
            Some(Fault::Full) => Err(failure(Fault::Full)),
            Some(Fault::AnswerLost) => {
                self.inner.put_opts(path, payload, options).await?;
                Err(failure(Fault::AnswerLost))
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(path, options).await?;
        Ok(Box::new(FaultyUpload { inner, path: path.clone(), fault: self.fault.clone() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    path: Path,
    fault: Arc<Mutex<Option<(&'static str, Fault)>>>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match fault_at(&self.fault, &self.path) {
            Some(Fault::Full) => Box::pin(async { Err(failure(Fault::Full)) }),
            _ => self.inner.put_part(data),
        }
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        let completed = self.inner.complete().await?;
        match fault_at(&self.fault, &self.path) {
            Some(fault) => Err(failure(fault)),
            None => Ok(completed),
        }
    }

    async fn abort(&mut self) -> StoreResult<()> {
        self.inner.abort().await
    }
}
