//! Joining connections with targets, as something that threads serve.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use underpass::relay::Socket;
use underpass_http::Listener;

use super::connection::Connector;
use crate::server::{Acceptor, Service, ServiceFuture};

#[derive(Clone)]
pub(super) struct Relaying {
    pub(super) connector: Arc<Connector>,
    /// How long connections may go on when the end is asked for.
    pub(super) drain: Duration,
}

impl Service for Relaying {
    fn on(
        &self,
        listener: impl Listener<Socket: Into<Socket>>,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> ServiceFuture {
        let connector = Arc::clone(&self.connector);
        let accepting = Acceptor {
            most: connections,
            connections: Arc::clone(&connector.stats.connections),
        };
        let mut settings = connector.settings.clone();
        settings.stats = Some(connector.stats.of_thread());
        let settings = Arc::new(settings);
        let drain = self.drain;
        let cut = async move { tokio::time::sleep(drain).await };
        // What is still open when it is dropped ends by resets.
        let relay = move |near| {
            let (connector, settings) = (Arc::clone(&connector), Arc::clone(&settings));
            async move { connector.relay(near, &settings).await }
        };
        Box::pin(accepting.run(listener, stop, cut, relay))
    }
}
