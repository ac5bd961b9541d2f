//! An object store in memory that fails as it is told, and says what it was asked.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::runtime::Runtime;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// It fails and is not carried out.
    Before,
    /// It is carried out, and fails.
    After,
    /// Half of it is carried out, and it succeeds.
    Cut,
    /// It is carried out with other bytes, and succeeds.
    Spoilt,
    /// Nothing is ever heard of it.
    Silence,
}

/// The number of the request and what it is.
type Decide = dyn Fn(u64, &str) -> Fault + Send + Sync;
type Watch = dyn Fn(String, &InMemory) + Send + Sync;

struct Shared {
    objects: InMemory,
    step: AtomicU64,
    bytes: AtomicU64,
    is_silent: AtomicBool,
    decide: Mutex<Arc<Decide>>,
    watch: Mutex<Arc<Watch>>,
}

#[derive(Clone)]
pub(super) struct Faulty(Arc<Shared>);

impl Faulty {
    pub(super) fn new(objects: InMemory) -> Faulty {
        Faulty(Arc::new(Shared {
            objects,
            step: AtomicU64::default(),
            bytes: AtomicU64::default(),
            is_silent: AtomicBool::default(),
            decide: Mutex::new(Arc::new(|_, _| Fault::None)),
            watch: Mutex::new(Arc::new(|_, _| {})),
        }))
    }

    /// Decides what happens from here on.
    pub(super) fn set(&self, decide: impl Fn(u64, &str) -> Fault + Send + Sync + 'static) {
        *self.0.decide.lock().unwrap() = Arc::new(decide);
    }

    /// Is called before and after each request is carried out.
    pub(super) fn watch(&self, watch: impl Fn(String, &InMemory) + Send + Sync + 'static) {
        *self.0.watch.lock().unwrap() = Arc::new(watch);
    }

    /// Bytes that were read.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Until a request is one that is never answered.
    pub(super) fn wait_for_silence(&self) {
        while !self.0.is_silent.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    /// The objects there are.
    pub(super) fn names(&self, runtime: &Runtime) -> BTreeSet<String> {
        let all = self.0.objects.list(None).map_ok(|found| found.location.to_string()).try_collect();
        runtime.block_on(all).unwrap()
    }

    /// Puts an object there.
    pub(super) fn make(&self, runtime: &Runtime, name: &str) {
        runtime.block_on(self.0.objects.put(&Path::parse(name).unwrap(), "x".into())).unwrap();
    }

    /// Takes an object away.
    pub(super) fn lose(&self, runtime: &Runtime, name: &str) {
        runtime.block_on(self.0.objects.delete(&Path::parse(name).unwrap())).unwrap();
    }

    async fn begin(&self, what: &str) -> Result<Fault> {
        let step = self.0.step.fetch_add(1, Ordering::Relaxed);
        let (watch, decide) = (Arc::clone(&self.0.watch.lock().unwrap()), Arc::clone(&self.0.decide.lock().unwrap()));
        watch(format!("before request {step}, {what}"), &self.0.objects);
        match decide(step, what) {
            Fault::Before => Err(failure()),
            Fault::Silence => {
                self.0.is_silent.store(true, Ordering::Release);
                std::future::pending().await
            }
            fault => Ok(fault),
        }
    }

    fn end<T>(&self, what: &str, fault: Fault, done: Result<T>) -> Result<T> {
        let watch = Arc::clone(&self.0.watch.lock().unwrap());
        watch(format!("after a request, {what}"), &self.0.objects);
        if fault == Fault::After { Err(failure()) } else { done }
    }
}

fn failure() -> Error {
    Error::Generic { store: "faulty", source: "nobody is there".into() }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let fault = self.begin("put").await?;
        let mut bytes: Vec<u8> = payload.iter().flatten().copied().collect();
        match fault {
            Fault::Cut => bytes.truncate(bytes.len() / 2),
            Fault::Spoilt => *bytes.last_mut().unwrap() ^= 1,
            _ => {}
        }
        let done = self.0.objects.put_opts(location, bytes.into(), opts).await;
        self.end("put", fault, done)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.begin("begin").await?;
        let upload = self.0.objects.put_multipart_opts(location, opts).await?;
        self.end("begin", fault, Ok(Box::new(Upload { store: self.clone(), upload })))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let what = if options.head { "head" } else { "get" };
        let fault = self.begin(what).await?;
        let done = self.0.objects.get_opts(location, options).await;
        if let (Ok(found), "get") = (&done, what) {
            self.0.bytes.fetch_add(found.range.end - found.range.start, Ordering::Relaxed);
        }
        self.end(what, fault, done)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                let fault = store.begin("delete").await?;
                let done = store.0.objects.delete(&location).await;
                store.end("delete", fault, done.map(|()| location))
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let list = async move {
            let fault = store.begin("list").await?;
            store.end("list", fault, Ok(store.0.objects.list(prefix.as_ref())))
        };
        futures::stream::once(list).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fault = self.begin("list").await?;
        let done = self.0.objects.list_with_delimiter(prefix).await;
        self.end("list", fault, done)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.objects.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Upload {
    store: Faulty,
    upload: Box<dyn MultipartUpload>,
}

#[async_trait::async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (store, part) = (self.store.clone(), self.upload.put_part(data));
        Box::pin(async move {
            let fault = store.begin("part").await?;
            store.end("part", fault, part.await)
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fault = self.store.begin("complete").await?;
        let done = self.upload.complete().await;
        self.store.end("complete", fault, done)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
