//! Receipts on their way to their messages, and what they are found by.
//!
//! Owns that mapping alone. Invariant: a settled receipt is to be stripped at once: nothing refers to its document, and what it
//! said is in the message. Imports `domain` and `store`'s types.

use super::{Collection, Keys, Record};
use crate::domain::id::DocId;
use crate::domain::receipt::{KeptReceipt, ReceiptAccepted, ReceiptProgress, ReceiptState};

impl Record for KeptReceipt {
    const COLLECTION: Collection = Collection::Receipts;
    type Fixed = ReceiptAccepted;
    type Live = ReceiptProgress;

    fn id(&self) -> DocId {
        self.id.clone()
    }

    fn parts(&self) -> (&ReceiptAccepted, &ReceiptProgress) {
        (&self.accepted, &self.progress)
    }

    fn join(id: DocId, accepted: ReceiptAccepted, progress: ReceiptProgress) -> Option<Self> {
        (DocId::receipt(&accepted.gateway_id) == id).then_some(Self { id, accepted, progress })
    }

    fn keys(&self) -> Keys {
        let p = &self.progress;
        let open = p.state == ReceiptState::Waiting;
        let settled_at = p.settled_at.filter(|_| !open).map(|at| at.0);
        Keys {
            open,
            accepted_at: Some(self.accepted.at.0),
            state: Some(p.state.as_str().to_owned()),
            due_at: open.then_some(p.due_at.0),
            strip_at: settled_at,
            settled_at,
            ..Keys::default()
        }
    }
}
