use super::*;

#[test]
fn each_code_has_its_failure_and_names_are_identifiers() {
    let check = |code: i32, name: &str, expected: Failure| assert_eq!(Failure::of_code(code, name, None), expected);
    check(13, "Unauthorized", Failure::NotAuthorized { command: None });
    check(18, "AuthenticationFailed", Failure::SignIn(SignIn::Refused));
    check(64, "WriteConcernFailed", Failure::WriteConcern { code: 64 });
    check(10107, "NotWritablePrimary", Failure::NotPrimary { code: 10107 });
    check(11000, "DuplicateKey", Failure::Other { code: Some(11000), name: "DuplicateKey".to_owned() });
    let quoting = "dup key: { Name: \"Canary Carter\" }";
    check(11000, quoting, Failure::Other { code: Some(11000), name: "DuplicateKey".to_owned() });
    check(2, quoting, Failure::Other { code: Some(2), name: "UnknownError".to_owned() });
}

/// Checks that a code has the same meaning for a command, a document and a write concern.
#[test]
fn a_code_has_the_same_meaning_everywhere() {
    for code in (0..500).chain(9_000..14_000).chain([46_841, 50_915, 56_846, 91_331, 10_045_600]) {
        let passing = codes::meaning(code).is_passing();
        let failure = Failure::of_code(code, "Any", None);
        assert_eq!(failure.is_retryable(), passing, "{code} of a command");
        assert_eq!(Failure::of_write_concern(code).is_retryable(), passing, "{code} of a write concern");
        let answer = bson::doc! { "ok": 1, "writeConcernError": { "code": code } };
        assert_eq!(Failure::in_answer(&answer), Some(Failure::of_write_concern(code)), "{code} in a reply");
        let command = bson::doc! { "code": code, "codeName": "Any", "errmsg": "any" };
        let command = bson::deserialize_from_document(command).expect("a command's error");
        assert_eq!(Failure::from(Error::from(ErrorKind::Command(command))), failure, "{code} from the driver");
    }
}

#[test]
fn only_the_name_of_a_refused_command_is_kept() {
    let check = |message: &str, expected: Option<&str>| assert_eq!(refused_command(message).as_deref(), expected);
    check("not authorized on hospital to execute command { insert: \"admissions\", x: 1 }", Some("insert"));
    check("not authorized on hospital to execute command { \"Canary Carter\": 1 }", None);
    check("not authorized", None);
}

#[test]
fn only_temporary_failures_are_retryable() {
    let check = |failure: &Failure, retryable: bool, code: u8| {
        assert_eq!((failure.is_retryable(), failure.exit_code()), (retryable, code), "{failure}");
    };
    check(&Failure::Unreachable(Unreachable::Lost), true, 3);
    check(&Failure::Unreachable(Unreachable::Name), false, 3);
    check(&Failure::NotPrimary { code: 91 }, true, 1);
    check(&Failure::SignIn(SignIn::Missing), false, 3);
    check(&Failure::Certificate(CertificateFault::Expired), false, 3);
    check(&Failure::NotAuthorized { command: None }, false, 1);
}

#[test]
fn the_text_of_the_tls_library_decides_the_fault_of_a_certificate() {
    let check = |text: &str, expected: Failure| assert_eq!(Failure::of_tls_text(text), expected, "{text}");
    let fault = Failure::Certificate;
    check("invalid peer certificate: certificate expired: verification time 2", fault(CertificateFault::Expired));
    check("invalid peer certificate: Expired", fault(CertificateFault::Expired));
    check("invalid peer certificate: certificate not valid yet: 1", fault(CertificateFault::NotYetValid));
    check("invalid peer certificate: certificate not valid for name \"h\"", fault(CertificateFault::WrongHost));
    check("invalid peer certificate: UnknownIssuer", fault(CertificateFault::UnknownIssuer));
    check("invalid peer certificate: BadSignature", fault(CertificateFault::UnknownIssuer));
    check("invalid peer certificate: Revoked", fault(CertificateFault::Invalid));
    check("received fatal alert: CertificateRequired", Failure::ClientCertificate);
    check("tls handshake eof", Failure::Unreachable(Unreachable::Lost));
}

/// Makes the driver's error for a failed write. `complaint` is the server's answer.
fn write_failure(kind: &str, complaint: bson::Document) -> Failure {
    let failure = bson::deserialize_from_document(bson::doc! { kind: complaint }).expect("a failure");
    Failure::from(Error::from(ErrorKind::Write(failure)))
}

fn insert_many(complaints: bson::Document) -> Failure {
    let many = bson::deserialize_from_document(complaints).expect("a failure");
    Failure::from(Error::from(ErrorKind::InsertMany(many)))
}

#[test]
fn a_write_fails_with_its_write_concern_error_or_its_first_error() {
    let other = |code: i32, name: &str| Failure::Other { code: Some(code), name: name.to_owned() };
    let write = |code: i32| bson::doc! { "index": 0, "code": code, "codeName": "Any", "errmsg": "Canary Carter" };
    let concern = |code: i32| bson::doc! { "code": code, "errmsg": "Canary Carter" };
    assert_eq!(write_failure("WriteError", write(2)), other(2, "Any"));
    assert_eq!(write_failure("WriteError", write(121)), other(121, "DocumentValidationFailure"));
    assert_eq!(write_failure("WriteError", write(64)), Failure::WriteConcern { code: 64 });
    assert_eq!(write_failure("WriteError", write(50)), Failure::Timeout);
    assert_eq!(write_failure("WriteConcernError", concern(64)), Failure::WriteConcern { code: 64 });
    assert_eq!(write_failure("WriteConcernError", concern(50)), Failure::WriteConcern { code: 50 });
    let errors = [write(121), write(2)];
    let both = bson::doc! { "writeErrors": errors.to_vec(), "writeConcernError": concern(64) };
    assert_eq!(insert_many(both), Failure::WriteConcern { code: 64 });
    let late = bson::doc! { "writeConcernError": concern(50) };
    assert_eq!(insert_many(late), Failure::WriteConcern { code: 50 });
    let errors = bson::doc! { "writeErrors": errors.to_vec() };
    assert_eq!(insert_many(errors), other(121, "DocumentValidationFailure"));
    let neither = Failure::Other { code: None, name: "InsertMany".to_owned() };
    assert_eq!(insert_many(bson::doc! { "writeErrors": [] }), neither);
    assert_eq!(insert_many(bson::doc! {}), neither);
}

#[test]
fn a_reply_is_a_failure_only_if_it_has_a_write_concern_error() {
    let check = |answer: bson::Document, code: Option<i32>| {
        assert_eq!(Failure::in_answer(&answer), code.map(|code| Failure::WriteConcern { code }));
    };
    check(bson::doc! { "ok": 1 }, None);
    check(bson::doc! { "ok": 1, "writeErrors": [{ "code": 121 }] }, None);
    check(bson::doc! { "writeConcernError": { "code": 100 } }, Some(100));
    check(bson::doc! { "writeConcernError": { "code": 100_i64 } }, Some(100));
    check(bson::doc! { "writeConcernError": { "errmsg": "x" } }, Some(64));
}

#[test]
fn the_kind_of_an_io_error_decides_the_failure() {
    use std::io::{Error as IoError, ErrorKind as Io};
    let check = |error: IoError, expected: Failure| assert_eq!(Failure::from(Error::from(error)), expected);
    check(Io::ConnectionRefused.into(), Failure::Unreachable(Unreachable::Refused));
    check(Io::TimedOut.into(), Failure::Unreachable(Unreachable::Silent));
    check(Io::ConnectionReset.into(), Failure::Unreachable(Unreachable::Lost));
    check(Io::BrokenPipe.into(), Failure::Unreachable(Unreachable::Lost));
    for text in
        ["failed to lookup address information", "No address associated with hostname", "Name or service not known"]
    {
        check(IoError::other(text), Failure::Unreachable(Unreachable::Name));
    }
    check(IoError::other("received corrupt message of type InvalidContentType"), Failure::TlsRefused);
    for alert in ["CertificateRequired", "BadCertificate", "CertificateUnknown", "UnknownCA", "AccessDenied"] {
        check(IoError::other(format!("received fatal alert: {alert}")), Failure::ClientCertificate);
    }
    check(IoError::other("received fatal alert: HandshakeFailure"), Failure::Unreachable(Unreachable::Lost));
    let peer = |fault: &str| IoError::other(format!("invalid peer certificate: {fault}"));
    for (text, fault) in [
        ("Expired", CertificateFault::Expired),
        ("NotValidYet", CertificateFault::NotYetValid),
        ("NotValidForName", CertificateFault::WrongHost),
        ("UnknownIssuer", CertificateFault::UnknownIssuer),
        ("CaUsedAsEndEntity", CertificateFault::UnknownIssuer),
        ("BadEncoding", CertificateFault::Invalid),
    ] {
        check(peer(text), Failure::Certificate(fault));
    }
}

#[test]
fn the_name_of_a_code_has_at_most_64_letters_and_digits() {
    for (name, is_kept) in
        [("x".repeat(64), true), ("x".repeat(65), false), (String::new(), false), ("a b".into(), false)]
    {
        assert_eq!(identifier(&name), if is_kept { &name } else { "UnknownError" });
    }
}

/// Checks each failure: whether the call is repeated, the exit code, the error code, and words of the message.
#[test]
fn every_failure_has_its_retry_rule_exit_code_and_message() {
    let check = |failure: Failure, retryable: bool, exit_code: u8, code: Option<i32>, part: &str| {
        assert_eq!(
            (failure.is_retryable(), failure.exit_code(), failure.code()),
            (retryable, exit_code, code),
            "{failure}"
        );
        assert!(failure.to_string().contains(part), "{failure}");
    };
    for (how, retryable, part) in [
        (Unreachable::Name, false, "host name has no address"),
        (Unreachable::Refused, true, "nothing listens on that port"),
        (Unreachable::Silent, true, "no answer; check host"),
        (Unreachable::Lost, true, "the connection broke"),
        (Unreachable::NoPrimary, true, "none is the primary"),
        (Unreachable::Members, true, "directConnection=true"),
        (Unreachable::OtherReplicaSet, false, "correct or remove replicaSet="),
    ] {
        check(Failure::Unreachable(how), retryable, 3, None, part);
    }
    let (user, database) = ("ann".to_owned(), "ward".to_owned());
    let elsewhere =
        SignIn::WrongAuthDatabase { user: user.clone(), tried: database.clone(), found: "admin".to_owned() };
    let other = SignIn::OtherDatabase { user: user.clone(), data: "wrad".to_owned(), found: "hospital".to_owned() };
    let misspelled = "database `wrad` has no user `ann`, but database `hospital` has one; correct --db or DB_NAME";
    for (how, part) in [
        (SignIn::Missing, "no user is given"),
        (
            SignIn::WrongPassword { user: user.clone(), databases: vec![database.clone()] },
            "wrong password for user `ann` of database `ward`",
        ),
        (
            SignIn::UnknownUser {
                user: user.clone(),
                databases: vec![database.clone()],
                created_in: Some("ward".to_owned()),
            },
            "database `ward` has no user `ann`; check the spelling of --db (or DB_NAME): if the name `ward` is right, \
             `medlift provision --db ward` creates this user",
        ),
        (elsewhere, "user `ann` is not in `ward` but in `admin`; add --authentication-database admin"),
        (other, misspelled),
        (
            SignIn::UnknownUser { user, databases: vec![database], created_in: None },
            "database `ward` has no user `ann`; check the name, or give the user's database with --authentication-database",
        ),
        (SignIn::UnknownCertificate, "has no user for the client certificate"),
        (SignIn::Refused, "`medlift provision` creates the users of the settings"),
    ] {
        check(Failure::SignIn(how), false, 3, None, part);
    }
    for (fault, part) in [
        (CertificateFault::Expired, "has expired"),
        (CertificateFault::NotYetValid, "not valid yet"),
        (CertificateFault::WrongHost, "for another host"),
        (CertificateFault::UnknownIssuer, "not signed by a trusted authority"),
        (CertificateFault::Invalid, "is not valid; replace it"),
    ] {
        check(Failure::Certificate(fault), false, 3, None, part);
    }
    check(Failure::TlsRequired, false, 3, None, "accepts only TLS; add --tls");
    check(Failure::TlsRefused, false, 3, None, "does not use TLS on this port");
    check(Failure::ClientCertificate, false, 3, None, "--tls-certificate-key-file");
    check(
        Failure::NotAuthorized { command: Some("insert".into()) },
        false,
        1,
        None,
        "may not run `insert` there (code 13)",
    );
    check(Failure::NotAuthorized { command: None }, false, 1, None, "lacks the privilege (code 13)");
    check(Failure::Timeout, true, 1, None, "exceeded its time limit");
    check(Failure::NotPrimary { code: 91 }, true, 1, Some(91), "not the primary or is shutting down (code 91)");
    check(
        Failure::WriteConcern { code: 64 },
        true,
        1,
        Some(64),
        "no journaled majority acknowledged the write (code 64)",
    );
    for code in [79, 100] {
        let part = format!("cannot acknowledge writes by a journaled majority (code {code})");
        check(Failure::WriteConcern { code }, false, 1, Some(code), &part);
    }
    let other = |code| Failure::of_code(code, "", None);
    check(other(112), true, 1, Some(112), "the server refused the command with code 112 (WriteConflict)");
    check(other(59), false, 1, Some(59), "the server refused the command with code 59 (UnknownError)");
    for code in [276, 285, 12_586, 12_587] {
        check(other(code), true, 1, Some(code), "indexes of the collection are being built");
        assert!(other(code).is_index_build(), "{code}");
    }
    assert!(!other(112).is_index_build());
    check(Failure::other("InvalidArgument"), false, 1, None, "the driver failed (InvalidArgument)");
}

#[test]
fn a_code_of_each_meaning_has_its_failure() {
    let check = |code: i32, of_command: Failure, of_concern: Failure| {
        assert_eq!(
            (Failure::of_code(code, "", None), Failure::of_write_concern(code)),
            (of_command, of_concern),
            "{code}"
        );
    };
    let concern = |code| Failure::WriteConcern { code };
    let lost = Failure::Unreachable(Unreachable::Lost);
    check(11, Failure::SignIn(SignIn::Refused), concern(11));
    check(13, Failure::NotAuthorized { command: None }, concern(13));
    check(50, Failure::Timeout, concern(50));
    check(64, concern(64), concern(64));
    check(79, concern(79), concern(79));
    check(89, lost.clone(), lost);
    check(189, Failure::NotPrimary { code: 189 }, Failure::NotPrimary { code: 189 });
    let named = |code: i32, name: &str| Failure::Other { code: Some(code), name: name.to_owned() };
    check(43, named(43, "CursorNotFound"), concern(43));
    let refused = Failure::of_code(13, "", Some("insert".to_owned()));
    assert_eq!(refused, Failure::NotAuthorized { command: Some("insert".to_owned()) });
}

#[test]
fn two_sign_ins_of_a_user_have_one_message() {
    let user = || "ann".to_owned();
    let wrong = |database: &str| SignIn::WrongPassword { user: user(), databases: vec![database.to_owned()] };
    let unknown = |database: &str| SignIn::UnknownUser {
        user: user(),
        databases: vec![database.to_owned()],
        created_in: Some("ward".to_owned()),
    };
    let check = |first: SignIn, second: SignIn, expected: &str| {
        assert_eq!(first.also_in(second).to_string(), expected);
    };
    check(
        unknown("admin"),
        unknown("ward"),
        "neither database `admin` nor database `ward` has a user `ann`; check the spelling of --db (or DB_NAME): if the \
         name `ward` is right, `medlift provision --db ward` creates this user",
    );
    check(wrong("admin"), wrong("ward"), "wrong password for user `ann` of database `admin` and of database `ward`");
    check(wrong("admin"), unknown("ward"), "wrong password for user `ann` of database `admin`");
    check(unknown("admin"), wrong("ward"), "wrong password for user `ann` of database `ward`");
}
