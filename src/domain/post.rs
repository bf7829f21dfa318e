//! How a reply is posted at a location: which of the contested properties it carries, and what follows GHL's objections.
//!
//! Docs and live API disagree on `type`, `conversationProviderId`, `phone` and whom a reply is addressed to (ghl contract §5);
//! GHL's own answers decide, and are remembered, or every reply would cost two calls. Invariant: no shape is tried twice for one
//! reply, so the objections end. Pure.

use serde::{Deserialize, Serialize};

use super::settings::ProviderKind;

/// What GHL calls the provider: the default SMS provider of a sub-account, or an extra one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostKind {
    #[default]
    Sms,
    Custom,
}

impl PostKind {
    const fn other(self) -> Self {
        match self {
            Self::Sms => Self::Custom,
            Self::Custom => Self::Sms,
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What an operator set for a location.
impl From<ProviderKind> for PostKind {
    fn from(set: ProviderKind) -> Self {
        match set {
            ProviderKind::Default => Self::Sms,
            ProviderKind::Custom => Self::Custom,
        }
    }
}

/// What GHL taught us of a location's replies; absent means nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostMemory {
    /// The `type` it took last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<PostKind>,
    /// The operator's word then: a new one is tried anew. Absent is [`PostKind::Sms`].
    #[serde(default, skip_serializing_if = "PostKind::is_default")]
    pub kind_set: PostKind,
    /// The `conversationProviderId` it refused: another one is tried anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_provider: Option<String>,
    /// It wants `conversationId`, not `contactId`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_conversation: bool,
}

impl PostMemory {
    /// What it took, unless the operator said another word since.
    fn kind_under(&self, set: PostKind) -> Option<PostKind> {
        self.kind.filter(|_| self.kind_set == set)
    }

    /// Nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One way to post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostShape {
    pub kind: PostKind,
    /// Carries `phone`.
    pub phone: bool,
    /// Carries `conversationProviderId`.
    pub provider: bool,
    /// Names the conversation in place of the contact.
    pub conversation: bool,
}

/// What GHL objected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    Phone,
    /// "Incorrect conversationProviderId/type"
    Kind,
    Provider,
    /// It insists on `conversationId`.
    Contact,
}

impl PostShape {
    /// The first to be tried. `kind` is the operator's word, which GHL's own answers to it beat; `provider` the configured id.
    #[must_use]
    pub fn first(memory: &PostMemory, kind: PostKind, phone_refused: bool, provider: Option<&str>) -> Self {
        Self {
            kind: memory.kind_under(kind).unwrap_or(kind),
            phone: !phone_refused,
            provider: provider.is_some_and(|id| memory.refused_provider.as_deref() != Some(id)),
            conversation: memory.by_conversation,
        }
    }

    /// The next to be tried after `tried`, the last of which met the objection; `None`: GHL refuses it for good.
    #[must_use]
    pub fn next(tried: &[Self], objection: Objection) -> Option<Self> {
        let last = *tried.last()?;
        let candidates: Vec<Self> = match objection {
            Objection::Phone => vec![Self { phone: false, ..last }],
            Objection::Provider => vec![Self { provider: false, ..last }],
            Objection::Contact => vec![Self { conversation: true, ..last }],
            // The type is switched first; then it was the provider after all, with either type.
            Objection::Kind => vec![
                Self { kind: last.kind.other(), ..last },
                Self { provider: false, ..last },
                Self { provider: false, kind: last.kind.other(), ..last },
            ],
        };
        candidates.into_iter().find(|shape| !tried.contains(shape))
    }

    /// What is to be remembered of the shape that GHL took.
    #[must_use]
    pub fn learnt(self, before: &PostMemory, set: PostKind, provider: Option<&str>) -> PostMemory {
        let refused = provider.filter(|_| !self.provider).map(str::to_owned);
        let kind = Some(self.kind).filter(|kind| *kind != set || before.kind_under(set).is_some());
        PostMemory {
            kind,
            kind_set: if kind.is_some() { set } else { PostKind::default() },
            refused_provider: refused,
            by_conversation: self.conversation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROVIDER: Option<&str> = Some("P1");

    fn first() -> PostShape {
        PostShape::first(&PostMemory::default(), PostKind::Sms, false, PROVIDER)
    }

    #[test]
    fn the_type_is_switched_before_the_provider_is_dropped_and_both_ways() {
        for kind in [PostKind::Sms, PostKind::Custom] {
            let start = PostShape { kind, ..first() };
            let mut tried = vec![start];
            while let Some(next) = PostShape::next(&tried, Objection::Kind) {
                tried.push(next);
            }
            let seen: Vec<_> = tried.iter().map(|s| (s.kind == kind, s.provider)).collect();
            assert_eq!(seen, [(true, true), (false, true), (false, false), (true, false)]);
        }
    }

    #[test]
    fn what_ghl_took_is_the_first_try_of_the_next_reply_and_a_new_provider_id_is_tried_anew() {
        let taken = PostShape { kind: PostKind::Custom, phone: true, provider: false, conversation: true };
        let memory = taken.learnt(&PostMemory::default(), PostKind::Sms, PROVIDER);
        assert_eq!(PostShape::first(&memory, PostKind::Sms, false, PROVIDER), taken);
        assert!(PostShape::first(&memory, PostKind::Sms, false, Some("P2")).provider);
        assert!(first().learnt(&PostMemory::default(), PostKind::Sms, PROVIDER).is_empty());
        let back = PostShape { kind: PostKind::Sms, ..taken }.learnt(&memory, PostKind::Sms, PROVIDER);
        assert_eq!(back.kind, Some(PostKind::Sms), "also when it became what it was at first");
    }

    #[test]
    fn the_operators_word_is_where_it_starts_and_what_ghl_took_wins_until_it_changes() {
        let (sms, custom) = (PostKind::Sms, PostKind::Custom);
        let starts = |memory: &PostMemory, set| PostShape::first(memory, set, false, PROVIDER).kind;
        assert_eq!(starts(&PostMemory::default(), custom), custom);
        for set in [sms, custom] {
            let switched = PostShape { kind: set.other(), ..first() }.learnt(&PostMemory::default(), set, PROVIDER);
            assert_eq!((starts(&switched, set), starts(&switched, set.other())), (set.other(), set.other()));
            let agreed = PostShape { kind: set, ..first() }.learnt(&PostMemory::default(), set, PROVIDER);
            assert_eq!((starts(&agreed, set), starts(&agreed, set.other())), (set, set.other()));
            // The word changes there and back: what was learnt under the other one is no longer held against it.
            let changed = PostShape { kind: set.other(), ..first() }.learnt(&switched, set.other(), PROVIDER);
            assert_eq!(starts(&changed, set), set);
        }
        let before: PostMemory = serde_json::from_str(r#"{"kind":"custom"}"#).expect("of an earlier release");
        assert_eq!((starts(&before, sms), starts(&before, custom)), (custom, custom));
    }

    proptest! {
        #[test]
        fn objections_end_and_no_shape_is_tried_twice(objections in proptest::collection::vec(0..4u8, 0..40)) {
            let mut tried = vec![first()];
            for objection in objections {
                let objection =
                    [Objection::Phone, Objection::Kind, Objection::Provider, Objection::Contact][usize::from(objection)];
                let Some(next) = PostShape::next(&tried, objection) else { break };
                prop_assert!(!tried.contains(&next));
                tried.push(next);
            }
            prop_assert!(tried.len() <= 16);
        }
    }
}
