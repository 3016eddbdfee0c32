use super::*;

const BOTH: [Mechanism; 2] = [Mechanism::ScramSha1, Mechanism::ScramSha256];

struct Vector {
    mechanism: Mechanism,
    client_nonce: &'static str,
    server_nonce: &'static str,
    salt: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

/// RFC 5802 §5 and RFC 7677 §3: user `user`, password `pencil`, 4096 iterations.
const VECTORS: [Vector; 2] = [
    Vector {
        mechanism: Mechanism::ScramSha1,
        client_nonce: "fyko+d2lbbFgONRv9qkxdawL",
        server_nonce: "3rfcNHYJY1ZVvWVs7j",
        salt: "QSXCR+Q6sek8bf92",
        client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    },
    Vector {
        mechanism: Mechanism::ScramSha256,
        client_nonce: "rOprNGfwEbeRWgbNEkqO",
        server_nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    },
];

fn keys(mechanism: Mechanism) -> ServerKeys {
    ServerKeys::derive(mechanism, "pencil", b"salt of this account", 4096)
}

/// Both sides up to client-final.
fn until_final(
    mechanism: Mechanism,
    secret: Secret<'_>,
) -> (ClientExchange, ServerExchange, Vec<u8>, Credential) {
    let (mut client, first) = ClientExchange::begin(mechanism, "romeo", "cnonce");
    let (server, server_first) =
        ServerExchange::begin(mechanism, &first, "snonce", &keys(mechanism)).unwrap();
    let (client_final, credential) = client.respond(&server_first, secret).unwrap();
    (client, server, client_final, credential)
}

#[test]
fn the_published_exchanges_are_reproduced_by_both_roles() {
    for vector in VECTORS {
        let salt = BASE64.decode(vector.salt).unwrap();
        let keys = ServerKeys::derive(vector.mechanism, "pencil", &salt, 4096);
        let (mut client, first) = ClientExchange::begin(vector.mechanism, "user", vector.client_nonce);
        assert_eq!(first, format!("n,,n=user,r={}", vector.client_nonce).into_bytes());
        let (server, server_first) =
            ServerExchange::begin(vector.mechanism, &first, vector.server_nonce, &keys).unwrap();
        let (client_final, _) = client.respond(&server_first, Secret::Password("pencil")).unwrap();
        assert_eq!(String::from_utf8(client_final.clone()).unwrap(), vector.client_final);
        let server_final = server.finish(&client_final, &keys).unwrap();
        assert_eq!(String::from_utf8(server_final.clone()).unwrap(), vector.server_final);
        assert_eq!(client.verify(&server_final), Ok(()));
    }
}

#[test]
fn a_kept_credential_serves_as_well_as_the_password() {
    for mechanism in BOTH {
        let (_, _, _, credential) = until_final(mechanism, Secret::Password("pencil"));
        let (client, server, client_final, again) = until_final(mechanism, Secret::Credential(&credential));
        let server_final = server.finish(&client_final, &keys(mechanism)).unwrap();
        assert_eq!(client.verify(&server_final), Ok(()));
        assert_eq!(credential, again);
    }
}

#[test]
fn a_credential_of_another_salt_count_or_hash_is_stale() {
    let (_, _, _, credential) = until_final(Mechanism::ScramSha256, Secret::Password("pencil"));
    let salt = &credential.salt;
    for (mechanism, server_first) in [
        (Mechanism::ScramSha256, "r=cnonceX,s=b3RoZXI=,i=4096".to_owned()),
        (Mechanism::ScramSha256, format!("r=cnonceX,s={salt},i=8192")),
        (Mechanism::ScramSha1, format!("r=cnonceX,s={salt},i=4096")),
    ] {
        let (mut client, _) = ClientExchange::begin(mechanism, "romeo", "cnonce");
        let fault = client.respond(server_first.as_bytes(), Secret::Credential(&credential)).unwrap_err();
        assert_eq!(fault, SaslFault::CredentialStale);
    }
}

#[test]
fn a_wrong_password_is_not_authorized() {
    for mechanism in BOTH {
        let (_, server, client_final, _) = until_final(mechanism, Secret::Password("crayon"));
        assert_eq!(server.finish(&client_final, &keys(mechanism)), Err(SaslFault::NotAuthorized));
    }
}

#[test]
fn no_changed_byte_of_the_final_message_is_accepted() {
    let (_, server, client_final, _) = until_final(Mechanism::ScramSha256, Secret::Password("pencil"));
    let keys = keys(Mechanism::ScramSha256);
    assert!(server.finish(&client_final, &keys).is_ok());
    for at in 0..client_final.len() {
        let mut tampered = client_final.clone();
        tampered[at] ^= 1;
        assert!(server.finish(&tampered, &keys).is_err(), "byte {at}");
    }
    for length in 0..client_final.len() {
        assert!(server.finish(&client_final[..length], &keys).is_err(), "cut at {length}");
    }
}

#[test]
fn another_nonce_or_binding_is_not_authorized() {
    let (_, server, client_final, _) = until_final(Mechanism::ScramSha256, Secret::Password("pencil"));
    let text = String::from_utf8(client_final).unwrap();
    let keys = keys(Mechanism::ScramSha256);
    for changed in [text.replace("snonce", "snonc3"), text.replace("c=biws", "c=eSws")] {
        assert_eq!(server.finish(changed.as_bytes(), &keys), Err(SaslFault::NotAuthorized));
    }
}

#[test]
fn names_are_taken_from_the_first_message() {
    let (_, first) = ClientExchange::begin(Mechanism::ScramSha1, "a=b,c", "n");
    assert_eq!(names(&first), Ok(("a=b,c".to_owned(), None)));
    assert_eq!(names(b"y,a=x@y,n=u,r=n"), Ok(("u".to_owned(), Some("x@y".to_owned()))));
    for bad in [
        "p=tls-unique,,n=u,r=n",
        "n,,n=u",
        "n,,r=n",
        "n,,n=,r=n",
        "n,,n=u,r=",
        "n,,n=a=b,r=n",
        "n,,m=x,n=u,r=n",
        "n,b=x,n=u,r=n",
        "",
        "n,,n=u,r=\u{e9}",
    ] {
        assert_eq!(names(bad.as_bytes()), Err(SaslFault::MalformedRequest), "{bad}");
    }
    assert_eq!(names(b"n,a==,n=u,r=n"), Err(SaslFault::InvalidAuthzid));
    assert_eq!(names(&[0xff]), Err(SaslFault::MalformedRequest));
}

#[test]
fn a_client_refuses_a_server_that_would_weaken_or_stall_it() {
    for server_first in [
        "r=cnonceX,s=c2FsdA==,i=1",
        "r=cnonceX,s=c2FsdA==,i=4095",
        "r=cnonceX,s=c2FsdA==,i=1000000000",
        "r=cnonce,s=c2FsdA==,i=4096",
        "r=other,s=c2FsdA==,i=4096",
        "r=cnonceX,s=,i=4096",
    ] {
        let (mut client, _) = ClientExchange::begin(Mechanism::ScramSha256, "romeo", "cnonce");
        let fault = client.respond(server_first.as_bytes(), Secret::Password("pencil")).unwrap_err();
        assert_eq!(fault, SaslFault::ServerNotTrusted, "{server_first}");
    }
    for server_first in ["", "m=x,r=cnonceX,s=c2FsdA==,i=4096", "r=cnonceX,s=*,i=4096", "r=cnonceX,i=4096"] {
        let (mut client, _) = ClientExchange::begin(Mechanism::ScramSha256, "romeo", "cnonce");
        assert!(
            client.respond(server_first.as_bytes(), Secret::Password("pencil")).is_err(),
            "{server_first}"
        );
    }
}

#[test]
fn a_client_believes_only_the_right_server_signature() {
    let (client, server, client_final, _) = until_final(Mechanism::ScramSha256, Secret::Password("pencil"));
    let good = server.finish(&client_final, &keys(Mechanism::ScramSha256)).unwrap();
    let other = ServerKeys::derive(Mechanism::ScramSha256, "pencil", b"another salt", 4096);
    let mut bad = good.clone();
    bad[5] ^= 1;
    assert_eq!(client.verify(&good), Ok(()));
    assert!(client.verify(&bad).is_err());
    assert!(client.verify(b"").is_err());
    assert_eq!(client.verify(b"v="), Err(SaslFault::ServerNotTrusted));
    assert_eq!(client.verify(b"e=other-error"), Err(SaslFault::NotAuthorized));
    assert!(server.finish(&client_final, &other).is_err());
    let (early, _) = ClientExchange::begin(Mechanism::ScramSha256, "romeo", "cnonce");
    assert_eq!(early.verify(&good), Err(SaslFault::ServerNotTrusted), "before anything was proved");
}

#[test]
fn passwords_are_prepared_and_the_impossible_ones_not_acceptable() {
    let derive = |password: &str| ServerKeys::derive(Mechanism::ScramSha1, password, b"salt", 4096);
    assert_eq!(derive("a\u{ad}b"), derive("ab"));
    assert_eq!(derive("a\u{a0}b"), derive("a b"));
    assert!(acceptable("correct horse") && acceptable("密码"));
    for bad in ["", "\u{ad}", "a\u{7}b", &"x".repeat(PASSWORD_BYTES_MAX + 1)] {
        assert!(!acceptable(bad));
    }
}
