//! What is fuzzed, one file each: the surface, the words that matter to it, and what must hold for any bytes.
//!
//! A property is said a second time here, in other words than the code under test uses; "does not panic" alone is none.

mod compose;
mod inbound_json;
mod json;
mod pem;
mod phone;
mod receipt_json;
mod retry_after;
mod segment;
mod settings_patch;
mod signature_header;
mod sms;
mod stored_job;
mod webhook_body;

use crate::runner::Target;

/// Bytes of the largest input where nothing in the product allows more.
const LARGEST: usize = 64 * 1024;

/// All of them.
pub fn all() -> [Target; 11] {
    [
        webhook_body::target(),
        signature_header::target(),
        pem::target(),
        phone::target(),
        segment::target(),
        compose::target(),
        retry_after::target(),
        inbound_json::target(),
        receipt_json::target(),
        settings_patch::target(),
        stored_job::target(),
    ]
}
