//! The client's session in the form magics ask for.

use async_trait::async_trait;
use bireme_client::{Follower, Query, QueryUpdate, RunOptions, Session};
use bireme_magics::query::{QueryService, RunningQuery};
use bireme_protocol::{Fault, proto};

/// An open session as magics see it.
pub(crate) struct SessionQueries(pub(crate) Session);

struct ClientQuery(Query);

#[async_trait]
impl RunningQuery for ClientQuery {
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    async fn next(&mut self) -> Option<Result<QueryUpdate, Fault>> {
        self.0.next().await
    }
}

struct FollowedQuery(Follower);

#[async_trait]
impl RunningQuery for FollowedQuery {
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    async fn next(&mut self) -> Option<Result<QueryUpdate, Fault>> {
        self.0.next().await
    }
}

#[async_trait]
impl QueryService for SessionQueries {
    fn session(&self) -> String {
        self.0.name().to_string()
    }

    async fn submit(
        &self,
        sql: &str,
        options: &RunOptions,
    ) -> Result<Box<dyn RunningQuery>, Fault> {
        Ok(Box::new(ClientQuery(self.0.submit(sql, options).await?)))
    }

    async fn define(
        &self,
        sql: &str,
        values: Vec<proto::BoundValue>,
    ) -> Result<proto::DefineReply, Fault> {
        self.0.define(sql, values).await
    }

    async fn drop_name(&self, name: &str, if_exists: bool) -> Result<bool, Fault> {
        self.0.drop_name(name, if_exists).await
    }

    async fn publish(&self, name: &str, withdraw: bool) -> Result<(), Fault> {
        self.0.publish(name, withdraw).await
    }

    async fn gather(
        &self,
        entry: &proto::CatalogEntry,
        files: &[String],
    ) -> Result<Vec<proto::SharedBatch>, Fault> {
        self.0.cluster().gather(entry, files).await
    }

    async fn memory(&self) -> Result<Vec<proto::EngineMemory>, Fault> {
        Ok(self.0.cluster().memory().await?.engines)
    }

    async fn catalog(&self) -> Result<proto::Catalog, Fault> {
        self.0.catalog().await
    }

    async fn status(&self) -> Result<proto::ClusterStatus, Fault> {
        self.0.cluster().status().await
    }

    async fn jobs(&self) -> Result<Vec<proto::QueryRecord>, Fault> {
        self.0.cluster().jobs().await
    }

    async fn history(&self, of_all: bool, limit: u32) -> Result<Vec<proto::QueryRecord>, Fault> {
        let session = (!of_all).then(|| self.0.name());
        self.0.cluster().history(session, limit).await
    }

    async fn follow(&self, id: &str) -> Result<Box<dyn RunningQuery>, Fault> {
        Ok(Box::new(FollowedQuery(self.0.cluster().follow(id).await?)))
    }

    async fn cancel(&self, id: &str, reason: &str) -> Result<proto::CancelReply, Fault> {
        self.0.cluster().cancel(id, reason).await
    }

    async fn spans(&self, id: &str) -> Result<Vec<proto::EngineSpans>, Fault> {
        Ok(self.0.cluster().spans(id).await?.engines)
    }
}
