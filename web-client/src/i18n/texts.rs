//! The table's shape.

/// All texts of one language. Grouped by where they stand on the screen.
#[allow(missing_docs, reason = "the field's name and its English text say what it is")]
pub struct Texts {
    pub app_name: &'static str,
    pub tagline: &'static str,
    pub opening: &'static str,
    /// What the language switch offers: the name of the other language, in that language.
    pub switch_language: &'static str,

    // Signing in and out
    pub name: &'static str,
    pub name_hint: fn(&str) -> String,
    pub password: &'static str,
    pub sign_in: &'static str,
    pub register: &'static str,
    pub signing_in: &'static str,
    pub fault_name: &'static str,
    pub fault_password_empty: &'static str,
    pub fault_wrong_password: &'static str,
    pub fault_name_taken: &'static str,
    pub fault_registration_closed: &'static str,
    pub fault_not_acceptable: &'static str,
    pub fault_server_not_trusted: &'static str,
    pub fault_unreachable: &'static str,
    pub fault_other: fn(&str) -> String,
    pub reauth: fn(&str) -> String,
    pub sign_out: &'static str,
    pub sign_out_title: &'static str,
    pub sign_out_body: &'static str,
    pub sign_out_waiting: fn(usize) -> String,
    pub cancel: &'static str,

    // The connection
    pub online: &'static str,
    pub connecting: &'static str,
    pub offline: &'static str,
    pub signed_out: &'static str,
    pub waiting: fn(usize) -> String,
    pub retry_at: fn(&str) -> String,

    // Conversations
    pub conversations: &'static str,
    pub new_chat: &'static str,
    pub new_chat_hint: &'static str,
    pub new_chat_start: &'static str,
    pub new_chat_self: &'static str,
    pub no_conversations: &'static str,
    pub no_messages: &'static str,
    pub draft: &'static str,
    pub you: fn(&str) -> String,
    pub unread: fn(u32) -> String,
    pub pick_conversation: &'static str,
    pub back: &'static str,
    pub typing: &'static str,
    pub stranger: fn(&str) -> String,
    pub accept: &'static str,

    // The timeline
    pub messages_with: fn(&str) -> String,
    pub loading_older: &'static str,
    pub start_of_history: &'static str,
    pub new_messages: fn(usize) -> String,
    pub jump_to_newest: &'static str,
    pub announce_one: fn(&str, &str) -> String,
    pub announce_many: fn(usize, &str) -> String,
    pub status_queued: &'static str,
    pub status_sent: &'static str,
    pub status_delivered: &'static str,
    pub status_read: &'static str,
    pub status_failed: &'static str,
    pub written_at: fn(&str) -> String,
    pub sent_at: fn(&str) -> String,
    pub delivered_at: fn(&str) -> String,
    pub read_at: fn(&str) -> String,
    pub retry: &'static str,
    pub delete: &'static str,
    pub discard: &'static str,
    /// A sentence for a stanza error condition (RFC 6120 §8.3.3).
    pub failure: fn(&str) -> String,

    // The composer
    pub write_message: &'static str,
    pub write_message_offline: &'static str,
    pub send: &'static str,
    pub not_stored: &'static str,

    // Notices
    pub store_unavailable: &'static str,
    pub store_full: &'static str,
    pub store_newer_version: &'static str,
    pub store_broken: &'static str,
    pub store_title: &'static str,
    pub store_full_here: &'static str,
    pub store_trying_here: &'static str,
    pub reload: &'static str,
    pub update_available: &'static str,
}
