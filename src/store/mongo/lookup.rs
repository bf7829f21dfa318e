//! Look-ups as filters and orders, and the indexes that keep them flat in the number of settled documents.
//!
//! Owns which index serves which look-up; a test holds the two together. Invariant: every index is an ordinary one, since
//! nothing correct may rest on partial, TTL or unique ones (bridge §5). Imports the driver and `store`'s types alone.

use std::iter::once;

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::super::{Collection, Place, Query};
use super::document::not_stripped;
use crate::domain::time::UnixMillis;

/// Order of acceptance, by keys that never change while a document is open.
const ORDER: [&str; 3] = ["k.accepted_at", "k.replica", "k.counter"];

/// What to find, in which order, and how much at most.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lookup {
    pub(super) filter: Document,
    pub(super) sort: Document,
    /// More than 0.
    pub(super) limit: i64,
}

/// The look-up of a query; `None` when it asks for nothing.
pub(super) fn of(query: Query) -> Option<Lookup> {
    let (found_by, sort, limit) = match query {
        Query::Due { now, limit } => {
            let due = doc! { "k.open": true, "k.due_at": { "$lte": now.0 } };
            (due, then_by_acceptance("k.due_at"), limit)
        }
        Query::ReportDue { now, limit } => {
            let due = doc! { "k.report_at": { "$lte": now.0 } };
            (due, then_by_acceptance("k.report_at"), limit)
        }
        Query::Waiting { location, limit } => (doc! { "k.waits": location }, order(), limit),
        Query::Lane { lane, limit } => (doc! { "k.lane": lane }, order(), limit),
        Query::OpenLane { lane, limit } => (doc! { "k.lane": lane, "k.open": true }, order(), limit),
        Query::Page { after, limit } => {
            let rest = after.map_or_else(Document::new, |id| doc! { "_id": { "$gt": id.0 } });
            (rest, doc! { "_id": 1 }, limit)
        }
        Query::Named { name, limit } => (doc! { "k.names": name }, order(), limit),
        Query::Newest { location, limit } => {
            // A tombstone has no location.
            (doc! { "k.location": location, "k.accepted_at": { "$lte": i64::MAX } }, newest_first(), limit)
        }
        Query::State { state, location, after, limit } => {
            let mut found_by = doc! { "k.state": state };
            found_by.extend(location.map(|location| ("k.location".to_owned(), location.into())));
            // A tombstone has no time of acceptance.
            let newest = after.as_ref().map_or(i64::MAX, |place| place.accepted_at.0);
            found_by.insert("k.accepted_at", doc! { "$lte": newest });
            if let Some(Place { accepted_at: UnixMillis(at), id }) = after {
                let ties = doc! { "k.accepted_at": at, "_id": { "$lt": id.0 } };
                found_by.insert("$or", vec![doc! { "k.accepted_at": { "$lt": at } }, ties]);
            }
            (found_by, newest_first(), limit)
        }
    };
    if limit == 0 {
        return None;
    }
    let filter = found_by.into_iter().chain(not_stripped()).collect();
    Some(Lookup { filter, sort, limit: i64::try_from(limit).unwrap_or(i64::MAX) })
}

/// Settled documents whose time to be stripped has come.
pub(super) fn to_strip(now: UnixMillis) -> Document {
    // What is still to be told, and may be, outlives its time: at most the day in which reports are repeated.
    let told = doc! { "$or": [{ "k.report_at": { "$exists": false } }, { "k.waits": { "$exists": true } }] };
    doc! { "k.strip_at": { "$lte": now.0 }, "$and": [told] }
}

/// Tombstones settled so long ago that nobody repeats them.
pub(super) fn to_forget(before: UnixMillis) -> Document {
    doc! { "k.settled_at": { "$lte": before.0 }, "fixed": { "$exists": false } }
}

/// What a poll walks through.
pub(super) fn open() -> Document {
    doc! { "k.open": true }
}

/// In order of acceptance.
pub(super) fn order() -> Document {
    ascending(ORDER)
}

fn newest_first() -> Document {
    doc! { "k.accepted_at": -1, "_id": -1 }
}

fn then_by_acceptance(first: &str) -> Document {
    ascending(once(first).chain(ORDER))
}

fn ascending<'a>(fields: impl IntoIterator<Item = &'a str>) -> Document {
    fields.into_iter().map(|field| (field.to_owned(), 1.into())).collect()
}

/// The indexes of a collection, those left out that none of its documents would be found by. Their names stay: other keys
/// need another name.
pub(super) fn indexes(collection: Collection) -> Vec<IndexModel> {
    let names: &[&str] = match collection {
        Collection::Messages => {
            &["open", "due", "report", "waits", "lane", "names", "state", "newest", "strip", "settled"]
        }
        Collection::Inbound => &["open", "due", "report", "lane", "state", "strip", "settled"],
        Collection::Unreadable => &["state", "strip", "settled"],
        Collection::Installations => &["open", "due", "report", "waits", "lane"],
        Collection::Contacts => &["lane"],
        Collection::Events | Collection::Receipts => &["due", "strip", "settled"],
        Collection::Suppressions => &["lane", "names", "report", "state"],
        Collection::Settings => &["names"],
        Collection::Days | Collection::Links => &["strip", "settled"],
        Collection::Leader => &[],
    };
    let named = |name: &&str| {
        let options = IndexOptions::builder().name((*name).to_owned()).build();
        IndexModel::builder().keys(keys(name)).options(options).build()
    };
    names.iter().map(named).collect()
}

fn keys(index: &str) -> Document {
    let found_by: &[&str] = match index {
        "open" => &["k.open"],
        "due" => &["k.open", "k.due_at"],
        "report" => &["k.report_at"],
        "waits" => &["k.waits"],
        "lane" => &["k.lane", "k.open"],
        "names" => return doc! { "k.names": 1 },
        "state" => return doc! { "k.state": 1, "k.accepted_at": 1, "_id": 1 },
        "newest" => return doc! { "k.location": 1, "k.accepted_at": 1, "_id": 1 },
        "strip" => return doc! { "k.strip_at": 1 },
        _ => return doc! { "k.settled_at": 1 },
    };
    ascending(found_by.iter().copied().chain(ORDER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::DocId;

    fn lookup(query: Query) -> Lookup {
        of(query).expect("a limit above 0")
    }

    /// The fields an index must begin with to serve a look-up: those with one value, then those of its order.
    fn wanted(filter: &Document, sort: &Document) -> Vec<String> {
        let one_value = filter.iter().filter(|(_, v)| v.as_document().is_none());
        one_value.chain(sort).map(|(field, _)| field.clone()).collect()
    }

    fn served(collection: Collection, filter: &Document, sort: &Document) -> bool {
        let wanted = wanted(filter, sort);
        indexes(collection).iter().any(|index| {
            let keys: Vec<_> = index.keys.keys().take(wanted.len()).cloned().collect();
            keys == wanted
        })
    }

    #[test]
    fn every_look_up_of_a_loop_is_an_index_in_its_own_order() {
        let (now, limit) = (UnixMillis(1), 5);
        for query in [
            Query::Due { now, limit },
            Query::ReportDue { now, limit },
            Query::Waiting { location: "L".into(), limit },
            Query::OpenLane { lane: "L".into(), limit },
        ] {
            let Lookup { filter, sort, .. } = lookup(query.clone());
            assert!(served(Collection::Messages, &filter, &sort), "{query:?}");
        }
        for query in [Query::ReportDue { now, limit }, Query::Waiting { location: "C".into(), limit }] {
            let Lookup { filter, sort, .. } = lookup(query.clone());
            assert!(served(Collection::Installations, &filter, &sort), "{query:?}");
        }
        let Lookup { filter, sort, .. } = lookup(Query::Due { now, limit });
        assert!(served(Collection::Events, &filter, &sort) && served(Collection::Receipts, &filter, &sort));
        assert!(served(Collection::Messages, &open(), &order()));
        assert!(served(Collection::Inbound, &open(), &order()));
    }

    #[test]
    fn what_stands_in_a_state_is_an_index_read_backwards() {
        let after = Some(Place { accepted_at: UnixMillis(1), id: DocId("x".into()) });
        let query = Query::State { state: "parked".into(), location: None, after, limit: 5 };
        let Lookup { mut filter, sort, .. } = lookup(query);
        assert!(filter.remove("$or").is_some());
        for collection in [Collection::Messages, Collection::Unreadable, Collection::Inbound, Collection::Suppressions]
        {
            assert!(served(collection, &filter, &sort), "{collection:?}");
        }
        let Lookup { filter, sort, .. } = lookup(Query::Newest { location: "L".into(), limit: 5 });
        assert!(served(Collection::Messages, &filter, &sort));
        let Lookup { filter, .. } = lookup(Query::Named { name: "n".into(), limit: 5 });
        assert!(served(Collection::Messages, &filter, &Document::new()));
    }

    #[test]
    fn a_whole_lane_is_found_by_index_and_sorted_in_memory() {
        let Lookup { filter, .. } = lookup(Query::Lane { lane: "L".into(), limit: 5 });
        for collection in [Collection::Messages, Collection::Inbound, Collection::Installations, Collection::Contacts] {
            assert!(served(collection, &filter, &Document::new()), "{collection:?}");
        }
    }

    #[test]
    fn a_limit_of_nothing_is_not_sent_to_a_server_that_would_read_it_as_no_limit() {
        assert_eq!(of(Query::Page { after: None, limit: 0 }), None);
        assert_eq!(lookup(Query::Page { after: None, limit: usize::MAX }).limit, i64::MAX);
    }

    #[test]
    fn names_of_indexes_are_unique_within_a_collection_and_their_kind_is_ordinary() {
        for collection in Collection::ALL {
            let indexes = indexes(collection);
            for (at, index) in indexes.iter().enumerate() {
                let options = index.options.as_ref().expect("named");
                assert!(options.unique.is_none() && options.expire_after.is_none());
                assert!(options.partial_filter_expression.is_none() && options.sparse.is_none());
                assert!(indexes[..at].iter().all(|earlier| earlier.keys != index.keys));
            }
        }
    }
}
