use bytes::Bytes; use std::sync::Arc; use std::convert::Infallible;
use underpass_http::*;
#[derive(Clone)] struct Dir(Arc<std::sync::Mutex<std::collections::HashMap<String, (http::HeaderMap, Content)>>>, String);
#[derive(Clone)] enum Content { B(Bytes), F(String) }
impl<B> tower_service::Service<http::Request<B>> for Dir {
    type Response = http::Response<FileBody>; type Error = Infallible; type Future = std::future::Ready<Result<Self::Response, Infallible>>;
    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> { std::task::Poll::Ready(Ok(())) }
    fn call(&mut self, r: http::Request<B>) -> Self::Future {
        let mut map = self.0.lock().unwrap();
        let e = map.get(r.uri().path());
        let (h, c) = match e { Some(e) => e.clone(), None => {
            let p = format!("{}{}", self.1, r.uri().path());
            let len = std::fs::metadata(&p).unwrap().len();
            let mut h = http::HeaderMap::new();
            h.insert("content-length", len.into()); h.insert("etag", "\"abc-def-ghi\"".parse().unwrap());
            h.insert("last-modified", "Sun, 22 Nov 2026 10:00:00 GMT".parse().unwrap());
            h.insert("accept-ranges", "bytes".parse().unwrap());
            h.insert("content-type", "application/octet-stream".parse().unwrap());
            let c = if len <= 16384 { Content::B(std::fs::read(&p).unwrap().into()) } else { Content::F(p) };
            map.insert(r.uri().path().to_owned(), (h.clone(), c.clone())); (h, c)
        }};
        let body = match c { Content::B(b) => FileBody::full(b), Content::F(p) => FileBody::open(std::fs::File::open(p).unwrap()).unwrap() };
        let mut res = http::Response::new(body); *res.headers_mut() = h;
        std::future::ready(Ok(res))
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
        let l = tokio::net::TcpListener::bind(&a[2]).await.unwrap();
        let stats = Arc::new(Stats::default()); let s2 = stats.clone();
        tokio::spawn(async move { loop { tokio::time::sleep(std::time::Duration::from_secs(5)).await; eprintln!("{s2:?}"); } });
        serve(l, Dir(Default::default(), a[1].clone()), stats).await.unwrap();
    });
}
