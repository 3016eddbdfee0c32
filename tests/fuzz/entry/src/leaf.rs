//! Leaf types that strangers write: addresses, times, and the messages of SCRAM.

use shared::jid::{BareJid, Jid, prepared_local, prepared_resource};
use shared::limits::{JID_PART_BYTES_MAX, SCRAM_ITERATIONS};
use shared::sasl::ht;
use shared::sasl::{ClientExchange, Credential, Mechanism, Secret, ServerExchange, ServerKeys, names};
use shared::time::Millis;
use std::sync::OnceLock;

/// A prepared address stays what it is: equal accounts compare equal however often their
/// address is written and read.
pub fn jid(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(jid) = Jid::parse(&text) {
        assert_eq!(Jid::parse(&jid.to_string()).as_ref(), Ok(&jid), "{jid} is prepared");
        assert_eq!(BareJid::parse(jid.bare.as_str()).as_ref(), Ok(&jid.bare));
        let parts = [jid.bare.local(), Some(jid.bare.domain()), jid.resource.as_deref()];
        for part in parts.into_iter().flatten() {
            assert!(!part.is_empty() && part.len() <= JID_PART_BYTES_MAX, "{} bytes", part.len());
            assert!(!part.chars().any(char::is_control), "{part:?}");
        }
        assert!(!jid.bare.domain().contains(['@', '/']), "{}", jid.bare);
        assert!(!jid.bare.local().is_some_and(|local| local.contains(['@', '/'])), "{}", jid.bare);
        if let Some(local) = jid.bare.local() {
            assert_eq!(BareJid::new(local, jid.bare.domain()).as_ref(), Ok(&jid.bare));
        }
        let stored = serde_json::to_string(&jid).unwrap();
        assert_eq!(serde_json::from_str::<Jid>(&stored).unwrap(), jid);
    }
    let bare = |text: String| Jid::parse(&text).map(|jid| jid.bare);
    assert_eq!(bare(text.to_ascii_lowercase()), bare(text.to_ascii_uppercase()), "case is folded");
    for prepared in [prepared_local, prepared_resource] {
        if let Ok(once) = prepared(&text) {
            assert_eq!(prepared(&once).as_ref(), Ok(&once));
        }
    }
}

/// The end of the year 9999.
const END_MS: u64 = 253_402_300_800_000;

/// A stamp that is read is a time that is written as a stamp that is read as the same time.
pub fn stamp(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // An offset may lead out of the years that a stamp can tell.
    if let Some(read) = Millis::from_stamp(&text).filter(|read| read.0 < END_MS) {
        assert_eq!(Millis::from_stamp(&read.to_stamp()), Some(read), "{text:?}");
    }
    let Some(number) = bytes.first_chunk::<8>() else { return };
    let any = Millis(u64::from_le_bytes(*number));
    let in_a_stamp = Millis(any.0 % END_MS);
    assert_eq!(Millis::from_stamp(&in_a_stamp.to_stamp()), Some(in_a_stamp));
    assert!(any.to_stamp().ends_with('Z'));
}

/// The password of every account in these tests.
pub const PASSWORD: &str = "pencil";
/// The mechanism they use.
pub const MECHANISM: Mechanism = Mechanism::ScramSha256;

/// What a relay keeps of [`PASSWORD`].
pub fn keys() -> &'static ServerKeys {
    static KEYS: OnceLock<ServerKeys> = OnceLock::new();
    KEYS.get_or_init(|| ServerKeys::derive(MECHANISM, PASSWORD, b"salt", SCRAM_ITERATIONS))
}

/// What a client keeps of it.
pub fn credential() -> &'static Credential {
    static CREDENTIAL: OnceLock<Credential> = OnceLock::new();
    CREDENTIAL.get_or_init(|| {
        let (mut client, first) = ClientExchange::begin(MECHANISM, "a", "n");
        let (_, challenge) = ServerExchange::begin(MECHANISM, &first, "s", keys()).unwrap();
        client.respond(&challenge, Secret::Password(PASSWORD)).unwrap().1
    })
}

/// The messages of SCRAM, one per line: client-first, client-final, server-first, server-final.
/// `{r}` stands for the nonce that is expected and `{s}` for the salt, so that what comes after
/// them is read at all. Nobody gets through without knowing the password.
pub fn sasl(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n').chain(std::iter::repeat(""));
    let mut line = || lines.next().unwrap_or_default();
    let (client_first, client_final, server_first, server_final) = (line(), line(), line(), line());
    server(client_first, client_final);
    holder_of_a_token(client_first.as_bytes());
    client(client_first, server_first, server_final);
    if !client_first.is_empty() {
        honest(client_first);
    }
}

fn server(first: &str, last: &str) {
    let begun = ServerExchange::begin(MECHANISM, first.as_bytes(), "server", keys());
    let named = names(first.as_bytes());
    let Ok((exchange, challenge)) = begun else {
        assert!(named.is_err(), "a name out of what makes no sense: {named:?}");
        return;
    };
    let challenge = String::from_utf8(challenge).unwrap();
    let nonce = challenge.strip_prefix("r=").and_then(|rest| rest.split_once(",s=")).unwrap().0;
    assert!(nonce.ends_with("server") && nonce.len() > "server".len());
    let stored = serde_json::to_string(&exchange).unwrap();
    assert_eq!(serde_json::from_str::<ServerExchange>(&stored).unwrap(), exchange);
    let last = last.replace("{r}", nonce);
    assert!(exchange.finish(last.as_bytes(), keys()).is_err(), "authenticated by {last:?}");
}

fn holder_of_a_token(message: &[u8]) {
    let keys = ht::TokenKeys::derive("a token that nobody knows");
    let Ok((name, proof)) = ht::read(message) else { return };
    assert!(!name.is_empty() && !keys.match_proof(proof), "authenticated by {message:?}");
    let honest = ht::initial_response(name, "a token that nobody knows");
    assert!(ht::read(&honest).is_ok_and(|(read, proof)| read == name && keys.match_proof(proof)));
}

fn client(name: &str, first: &str, last: &str) {
    let (mut exchange, _) = ClientExchange::begin(MECHANISM, name, "client");
    let first = first.replace("{r}", "clientserver").replace("{s}", &credential().salt);
    assert!(exchange.verify(last.as_bytes()).is_err(), "trusted before it was asked");
    // A password is hashed as often as the server says: that is slow enough with the least it may say.
    let slow = first.split(',').any(|field| field.starts_with("i=") && field != "i=4096");
    let secret = if slow { Secret::Credential(credential()) } else { Secret::Password(PASSWORD) };
    if let Ok((reply, earned)) = exchange.respond(first.as_bytes(), secret) {
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.starts_with("c=biws,r=client"), "{reply}");
        assert!(earned.iterations >= SCRAM_ITERATIONS);
    }
    assert!(exchange.verify(last.as_bytes()).is_err(), "trusted for {last:?}");
}

/// Whatever a person is called, whoever knows the password gets in and knows the server.
fn honest(name: &str) {
    let (mut client, first) = ClientExchange::begin(MECHANISM, name, "client");
    assert_eq!(names(&first), Ok((name.to_owned(), None)));
    let (server, challenge) = ServerExchange::begin(MECHANISM, &first, "server", keys()).unwrap();
    let (last, _) = client.respond(&challenge, Secret::Credential(credential())).unwrap();
    let proof = server.finish(&last, keys()).unwrap();
    assert_eq!(client.verify(&proof), Ok(()));
    assert!(client.verify(&proof[..proof.len() - 4]).is_err(), "half a proof is none");
}
