//! Accounts and sessions that are there from the start, so that a run need not begin with
//! hashing passwords. Made once, with the engines' own code.

use sha2::{Digest, Sha256};
use shared::client::rows::{AccountRow as ClientAccount, ConversationRow, SessionRow};
use shared::id::{DeviceId, StanzaSeq};
use shared::jid::BareJid;
use shared::limits::SCRAM_ITERATIONS;
use shared::relay::rows::{AccountRow, DeviceRow, StreamRow};
use shared::sasl::{ClientExchange, Credential, Mechanism, Secret, ServerExchange, ServerKeys};
use shared::sm::Handled;
use shared::time::Millis;
use std::sync::OnceLock;

/// Everybody's password.
pub const PASSWORD: &str = "pencil";
/// What the SM-IDs of streams begin with that are there from the start.
pub const OLD_STREAM: &str = "old-";

const SALT: &[u8; 16] = b"counterfoil-salt";

/// What a relay keeps of every account.
pub fn account(created: Millis) -> AccountRow {
    static KEYS: OnceLock<(ServerKeys, ServerKeys)> = OnceLock::new();
    let keys = |mechanism| ServerKeys::derive(mechanism, PASSWORD, SALT, SCRAM_ITERATIONS);
    let (sha1, sha256) =
        KEYS.get_or_init(|| (keys(Mechanism::ScramSha1), keys(Mechanism::ScramSha256))).clone();
    AccountRow {
        sha1,
        sha256,
        created,
        blocked: Vec::new(),
        archiving: Default::default(),
        removed: false,
        begins: StanzaSeq(0),
    }
}

/// What a device keeps of every account.
pub fn signed_in(jid: &BareJid, device: &DeviceId, url: &str) -> ClientAccount {
    static CREDENTIAL: OnceLock<Option<Credential>> = OnceLock::new();
    let credential = CREDENTIAL.get_or_init(credential).clone();
    let nothing = || Credential {
        salt: String::new(),
        iterations: 0,
        client_key: String::new(),
        server_key: String::new(),
    };
    ClientAccount {
        jid: jid.clone(),
        device: device.clone(),
        url: url.to_owned(),
        credential: credential.unwrap_or_else(nothing),
    }
}

fn credential() -> Option<Credential> {
    let mechanism = Mechanism::ScramSha256;
    let (mut client, first) = ClientExchange::begin(mechanism, "somebody", "nonce");
    let keys = account(Millis(0)).sha256;
    let (_, challenge) = ServerExchange::begin(mechanism, &first, "server", &keys).ok()?;
    client.respond(&challenge, Secret::Password(PASSWORD)).ok().map(|(_, credential)| credential)
}

/// A conversation that was accepted before the run.
pub fn conversation(jid: &BareJid) -> ConversationRow {
    ConversationRow {
        jid: jid.clone(),
        unread: 0,
        last_text: String::new(),
        last_at: Millis(0),
        last_direction: None,
        accepted: true,
        draft: String::new(),
        markable: None,
        newest: None,
    }
}

/// A stream that was broken before the run, whose two counts are `count`: as the device has it,
/// and as its mailbox has it.
pub fn old_stream(jid: &BareJid, device: &DeviceId, count: u32, now: Millis) -> (SessionRow, DeviceRow) {
    let id = format!("{OLD_STREAM}{jid}-{device}");
    let bound = jid.with_resource(device.as_str()).to_string();
    let session = SessionRow { sm_id: id.clone(), stream: 1, handled: count, bound, seen: 0 };
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, Sha256::digest(id));
    let stream = StreamRow {
        no: 1 + u64::from(device.as_str().as_bytes().last().copied().unwrap_or_default()),
        sm_id_hash: hash,
        handled: Handled(count),
        acked: Handled(count),
        sent_max: Handled(count),
        next: StanzaSeq(1),
        suspended: Some(now),
        carbons: true,
        presence: Some("<presence xmlns='jabber:client'/>".to_owned()),
        ..StreamRow::default()
    };
    let row = DeviceRow {
        device: device.clone(),
        cursor: StanzaSeq(0),
        stream: Some(stream),
        last_seen: now,
        name: None,
        named: true,
        taken: Default::default(),
        agent: None,
        caps: None,
        there: None,
    };
    (session, row)
}
