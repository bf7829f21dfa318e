//! Sealing anew: whatever an older key sealed, the first key seals, so that the older one can be dropped.
//!
//! Owns the list of document kinds with secrets in them and the two walks over them: look and seal anew. Invariant: a
//! document changes only by compare-and-set on what was opened, so a token stored meanwhile is never undone; what no key
//! opens is kept as it is, and listed. Must not import oauth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::id::{DocId, Epoch};
use crate::domain::installation::{HoldsSealed, Installation, Sealed};
use crate::domain::settings::LocationSettings;
use crate::domain::time::Mono;
use crate::leader::Leadership;
use crate::lifecycle::Stop;
use crate::seal::{KeyRing, SealError};
use crate::store::{Query, Record, Store, StoreError, Stored};

/// Documents of one batch: few writes at a time, so that webhooks are not held up.
const BATCH: usize = 64;
/// Documents read at once by a walk that changes nothing.
const PAGE: usize = 256;
/// Between batches.
const BETWEEN: Duration = Duration::from_millis(200);
/// After a whole pass: a process with an older ring may have sealed something since.
const PASS_EVERY: Duration = Duration::from_secs(3600);
/// Between looks while there is nothing to do.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Kinds of documents with secrets in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Installations,
    Settings,
}

impl Holder {
    const ALL: [Self; 2] = [Self::Installations, Self::Settings];

    /// Seals a batch anew.
    async fn reseal(self, walk: &Walk<'_>, after: Option<DocId>, limit: usize) -> Result<Batch, StoreError> {
        match self {
            Self::Installations => walk.reseal::<Installation>(after, limit).await,
            Self::Settings => walk.reseal::<LocationSettings>(after, limit).await,
        }
    }

    /// Adds what is found to `survey`.
    async fn survey(self, walk: &Walk<'_>, survey: &mut Survey) -> Result<(), StoreError> {
        match self {
            Self::Installations => walk.survey::<Installation>(survey).await,
            Self::Settings => walk.survey::<LocationSettings>(survey).await,
        }
    }
}

/// Which key seals what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Documents with secrets in them.
    pub documents: usize,
    /// By key id: documents with something sealed by it, whether the ring has that key or not.
    pub sealed_by: BTreeMap<String, usize>,
    /// Documents with something in the clear.
    pub plain: usize,
    /// Documents with something no key of the ring opens, and why.
    pub unreadable: Vec<(DocId, SealError)>,
}

/// Looks through everything that is sealed.
///
/// # Errors
/// [`StoreError`]
pub async fn survey(store: &Store, ring: &KeyRing) -> Result<Survey, StoreError> {
    let mut survey = Survey::default();
    for holder in Holder::ALL {
        holder.survey(&Walk { store, ring }, &mut survey).await?;
    }
    Ok(survey)
}

/// Seals everything anew with the first key, now; answers how many documents changed.
///
/// # Errors
/// [`StoreError`]; what was done stays done.
pub async fn reseal_all(store: &Store, ring: &KeyRing) -> Result<usize, StoreError> {
    let mut changed = 0;
    for holder in Holder::ALL {
        let mut after = None;
        loop {
            let batch = holder.reseal(&Walk { store, ring }, after, BATCH).await?;
            changed += batch.changed;
            after = batch.last;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(changed)
}

struct Walk<'a> {
    store: &'a Store,
    ring: &'a KeyRing,
}

/// What a batch came to; without a last document there was none.
struct Batch {
    last: Option<DocId>,
    changed: usize,
}

impl Walk<'_> {
    async fn page<R: Record>(&self, after: Option<DocId>, limit: usize) -> Result<Vec<Stored<R>>, StoreError> {
        self.store.find::<R>(Query::Page { after, limit }).await
    }

    async fn reseal<R: Record + HoldsSealed>(&self, after: Option<DocId>, limit: usize) -> Result<Batch, StoreError> {
        let page = self.page::<R>(after, limit).await?;
        let last = page.last().map(|stored| stored.record.id());
        let mut changed = 0;
        for stored in page.iter().filter(|stored| self.ring.resealed(&stored.record).is_some()) {
            // Evaluated again on what is there by then.
            let done = self.store.update::<R>(&stored.record.id(), |record| self.ring.resealed(record)).await?;
            changed += usize::from(done.is_some());
        }
        Ok(Batch { last, changed })
    }

    async fn survey<R: Record + HoldsSealed>(&self, survey: &mut Survey) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.page::<R>(after, PAGE).await?;
            after = page.last().map(|stored| stored.record.id());
            if after.is_none() {
                return Ok(());
            }
            page.into_iter().for_each(|stored| self.count(stored.record, survey));
        }
    }

    fn count<R: HoldsSealed>(&self, mut record: R, survey: &mut Survey) {
        let Some(id) = record.seal_id() else { return };
        let (mut kids, mut plain, mut closed) = (BTreeSet::new(), false, None);
        let fields = record.sealed_fields();
        survey.documents += usize::from(!fields.is_empty());
        for (field, sealed) in fields {
            match sealed {
                Sealed::Encrypted { kid, .. } => drop(kids.insert(kid.clone())),
                Sealed::Plain { .. } => plain = true,
            }
            closed = closed.or(self.ring.open(&id, field, sealed).err());
        }
        for kid in kids {
            *survey.sealed_by.entry(kid).or_default() += 1;
        }
        survey.plain += usize::from(plain);
        survey.unreadable.extend(closed.map(|why| (id, why)));
    }
}

/// Seals anew in the background, while this process leads.
#[derive(Debug, Clone)]
pub struct Rekeyer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    ring: Arc<KeyRing>,
    clock: Clock,
    leadership: Leadership,
    pass: Mutex<Pass>,
}

/// How far the walk has come in the present term.
#[derive(Debug, Clone, Default)]
struct Pass {
    epoch: Epoch,
    /// The kind it is at, as a place in [`Holder::ALL`], and the last document of it.
    kind: usize,
    after: Option<DocId>,
    changed: usize,
    /// Not begun before.
    rests_until: Option<Mono>,
}

impl Rekeyer {
    /// A walk that has not begun.
    #[must_use]
    pub fn new(store: Store, ring: Arc<KeyRing>, clock: Clock, leadership: Leadership) -> Self {
        Self(Arc::new(Inner { store, ring, clock, leadership, pass: Mutex::default() }))
    }

    /// Which key seals what.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn survey(&self) -> Result<Survey, StoreError> {
        survey(&self.0.store, &self.0.ring).await
    }

    /// One batch, if one is due; `true` while the pass is not at its end.
    ///
    /// # Errors
    /// [`StoreError`]; the batch is done again.
    pub async fn step(&self) -> Result<bool, StoreError> {
        let Inner { store, ring, clock, leadership, .. } = &*self.0;
        let Some(right) = leadership.right().filter(|_| ring.encrypts()) else { return Ok(false) };
        let mut pass = self.pass().clone();
        if pass.epoch != right.epoch {
            pass = Pass { epoch: right.epoch, ..Pass::default() };
        }
        if pass.rests_until.is_some_and(|until| clock.mono() < until) {
            return Ok(false);
        }
        pass.rests_until = None;
        if let Some(holder) = Holder::ALL.get(pass.kind) {
            let batch = holder.reseal(&Walk { store, ring }, pass.after.take(), BATCH).await?;
            pass.changed += batch.changed;
            pass.kind += usize::from(batch.last.is_none());
            pass.after = batch.last;
        }
        let ended = pass.kind >= Holder::ALL.len();
        if ended {
            if pass.changed > 0 {
                tracing::info!(documents = pass.changed, "everything is sealed with the first key now");
            }
            let rests_until = Some(clock.mono().after(PASS_EVERY));
            pass = Pass { epoch: pass.epoch, rests_until, ..Pass::default() };
        }
        *self.pass() = pass;
        Ok(!ended)
    }

    /// Walks until shutdown begins.
    pub async fn run(&self, stop: &Stop) {
        loop {
            let pause = match self.step().await {
                Ok(true) => BETWEEN,
                Ok(false) => LOOK_EVERY,
                Err(e) => {
                    tracing::warn!(error = %e, "tokens can't be sealed anew now");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = self.0.clock.sleep(pause) => {}
                () = stop.soft() => return,
            }
        }
    }

    fn pass(&self) -> std::sync::MutexGuard<'_, Pass> {
        self.0.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
