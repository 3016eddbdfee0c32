//! English.

use super::Texts;
use shared::client::rows::OUTCOME_UNKNOWN;

pub(super) static EN: Texts = Texts {
    app_name: "Counterfoil",
    tagline: "Every message keeps its receipt.",
    opening: "Opening your conversations…",
    switch_language: "中文",

    name: "Name or address",
    name_hint: |domain| format!("A plain name means name@{domain}"),
    password: "Password",
    sign_in: "Sign in",
    register: "Create account",
    signing_in: "Signing in…",
    fault_name: "This is not a valid name or address.",
    fault_password_empty: "Enter a password.",
    fault_wrong_password: "Name or password is wrong.",
    fault_name_taken: "This name is taken. Sign in, or choose another.",
    fault_registration_closed: "This server does not take new accounts.",
    fault_not_acceptable: "The server does not accept this name or password.",
    fault_server_not_trusted: "The server could not prove that it knows your account.",
    fault_unreachable: "The server cannot be reached. Check your connection and try again.",
    fault_other: |condition| format!("Signing in failed: {condition}"),
    reauth: |name| {
        format!(
            "The server no longer accepts this device. Enter the password of {name} to go on; everything here stays."
        )
    },
    sign_out: "Sign out",
    sign_out_title: "Sign out of this device?",
    sign_out_body: "All conversations stored on this device will be deleted from it.",
    sign_out_waiting: |count| match count {
        1 => "1 message has not reached the server and will be lost.".into(),
        _ => format!("{count} messages have not reached the server and will be lost."),
    },
    cancel: "Cancel",

    online: "Connected",
    connecting: "Connecting…",
    offline: "Offline",
    signed_out: "Signed out",
    waiting: |count| format!("{count} waiting"),
    retry_at: |time| format!("Next try at {time}. Select to try now."),

    conversations: "Conversations",
    new_chat: "New conversation",
    new_chat_hint: "Name or address",
    new_chat_start: "Start",
    new_chat_self: "This is your own address.",
    no_conversations: "No conversations yet. Start one with a name or an address above.",
    no_messages: "No messages yet",
    draft: "Draft:",
    you: |text| format!("You: {text}"),
    unread: |count| match count {
        1 => "1 unread message".into(),
        _ => format!("{count} unread messages"),
    },
    pick_conversation: "Choose a conversation",
    back: "Back to conversations",
    typing: "typing…",
    stranger: |name| {
        format!(
            "{name} is not among your contacts. Until you accept, they don't learn that you received this."
        )
    },
    accept: "Accept",

    messages_with: |name| format!("Messages with {name}"),
    loading_older: "Loading older messages…",
    start_of_history: "This is the beginning of the conversation.",
    new_messages: |count| match count {
        1 => "1 new message".into(),
        _ => format!("{count} new messages"),
    },
    jump_to_newest: "Jump to newest",
    announce_one: |name, text| format!("{name}: {text}"),
    announce_many: |count, name| format!("{count} new messages from {name}"),
    status_queued: "Waiting: stored on this device",
    status_sent: "Sent: the server has it",
    status_delivered: "Delivered to a device",
    status_read: "Read",
    status_failed: "Not delivered",
    written_at: |time| format!("Written {time}"),
    sent_at: |time| format!("Sent {time}"),
    delivered_at: |time| format!("Delivered {time}"),
    read_at: |time| format!("Read {time}"),
    retry: "Retry",
    delete: "Delete",
    discard: "Delete: do not send this message",
    failure: |condition| match condition {
        "service-unavailable" | "item-not-found" => {
            "There is no such account, or it does not take your messages.".into()
        }
        OUTCOME_UNKNOWN => {
            "It was handed over long ago, and whether it arrived is not known. Retrying may show it twice."
                .into()
        }
        "resource-constraint" => "Their mailbox is full.".into(),
        "remote-server-not-found" => "Their server does not exist.".into(),
        "remote-server-timeout" => "Their server does not answer.".into(),
        "forbidden" | "not-allowed" | "not-authorized" => "You may not write to them.".into(),
        "not-acceptable" | "policy-violation" => "The server refused this message.".into(),
        "jid-malformed" => "The address is not valid.".into(),
        other => format!("The server refused this message ({other})."),
    },

    write_message: "Write a message",
    write_message_offline: "Write a message; it leaves when you are back online",
    send: "Send",
    not_stored: "The message could not be stored on this device. Its text is back in the box: try again.",

    store_unavailable: "This browser keeps nothing here. Leave private browsing, or allow this site to store data, then reload.",
    store_full: "This device is full. Free some space, then reload. Nothing that was shown is lost.",
    store_newer_version: "A newer version of the app is open in another tab. Reload to use it here too.",
    store_broken: "The stored conversations cannot be opened. Reload to try again.",
    store_full_here: "This device is full. Keep this tab open and free some space: what you write is kept here and stored as soon as there is room.",
    store_trying_here: "The browser is not storing anything at the moment. Keep this tab open: what you write is kept here and stored as soon as possible.",
    store_title: "Your messages cannot be stored",
    reload: "Reload",
    update_available: "A new version is ready.",
};
