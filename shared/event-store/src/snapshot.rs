//! Snapshots: a fold of the ledger, so that a start need not replay years. A cache: losing one costs time, nothing else.

use async_nats::jetstream::object_store::{self, InfoErrorKind, ObjectStore};
use tokio::io::AsyncReadExt;

use crate::error::EventStoreError;
use crate::store::EventStore;
use crate::streams::SNAPSHOTS;

impl EventStore {
    /// Keeps a snapshot under `name`, in place of the one before.
    ///
    /// # Errors
    /// Where the broker does not answer or refuses. What is kept then can't be loaded, or is the one before.
    pub async fn save_snapshot(&self, name: &str, snapshot: &[u8]) -> Result<(), EventStoreError> {
        let cannot = || format!("keep the snapshot {name}");
        let bucket = self.snapshots().await?;
        let mut bytes = snapshot;
        let saved = bucket.put(name, &mut bytes).await;
        saved
            .map(drop)
            .map_err(|error| EventStoreError::broker(cannot(), error))
    }

    /// The snapshot under `name`; none where there is none.
    ///
    /// # Errors
    /// Where the broker does not answer, or the snapshot is damaged.
    pub async fn load_snapshot(&self, name: &str) -> Result<Option<Vec<u8>>, EventStoreError> {
        let cannot = || format!("load the snapshot {name}");
        let bucket = self.snapshots().await?;
        match bucket.info(name).await {
            Ok(_) => {}
            Err(error) if error.kind() == InfoErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(EventStoreError::broker(cannot(), error)),
        }
        let object = bucket.get(name).await;
        let mut object = object.map_err(|error| EventStoreError::broker(cannot(), error))?;
        let mut bytes = Vec::new();
        // The digest is checked at the end of the object.
        let read = object.read_to_end(&mut bytes).await;
        read.map_err(|error| EventStoreError::broker(cannot(), error))?;
        Ok(Some(bytes))
    }

    async fn snapshots(&self) -> Result<ObjectStore, EventStoreError> {
        let name = self.stream_name(SNAPSHOTS);
        match self.context.get_object_store(&name).await {
            Ok(bucket) => Ok(bucket),
            Err(_) if self.settings.create_streams => self.make_snapshots(name).await,
            Err(error) => Err(EventStoreError::broker(
                format!("look at the bucket {name}"),
                error,
            )),
        }
    }

    /// Makes the bucket, where it is missing.
    pub(crate) async fn make_snapshots(
        &self,
        name: String,
    ) -> Result<ObjectStore, EventStoreError> {
        let what = format!("make the bucket {name}");
        let config = object_store::Config {
            bucket: name,
            description: Some("Bellhop: folds of the ledger, a cache".to_owned()),
            num_replicas: usize::from(self.settings.stream_replicas),
            ..object_store::Config::default()
        };
        let made = self.context.create_object_store(config).await;
        made.map_err(|error| EventStoreError::broker(what, error))
    }
}
