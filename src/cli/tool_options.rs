//! Explains options of the MongoDB Database Tools that a command of Medlift does not have. The message says what
//! Medlift offers instead. Without this message, clap would propose an option with a similar name and another meaning.

/// Options as the Database Tools spell them. The text after each group of options says what Medlift offers instead.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["--fields", "-f", "--fieldFile"],
        "the source's header names its columns, and the spec gives the field of each column (medlift spec fields lists \
         them); an export has all fields of the spec",
    ),
    (&["--jsonArray"], "a load recognises a JSON array by itself; an export writes one document per line"),
    (&["--queryFile"], "give the filter with --query \"$(cat FILE)\" to medlift export"),
    (&["--out"], "this command writes no file of documents; medlift export --out FILE does"),
    (&["--numInsertionWorkers", "-j"], "this command inserts no documents; medlift load has the option"),
    (
        &["--upsertFields", "--upsert"],
        "the spec's [identity] names the fields by which a stored document is found; load with --mode upsert",
    ),
    (
        &["--ignoreBlanks"],
        "an empty cell has no value: it becomes null, or its row is rejected if the field is required",
    ),
    (&["--parseGrace"], "a row with a cell that does not fit its type is rejected, and written to the reject file"),
    (&["--columnsHaveTypes"], "the spec gives each column its type (medlift spec fields lists them)"),
    (&["--useArrayIndexFields"], "an array is a JSON array, also in the cell of a CSV; docs/spec.md describes it"),
    (&["--gzip"], "a load recognises gzip and zstd by itself; compress an export with medlift export | gzip"),
    (&["--archive"], "Medlift neither reads nor writes dumps; mongodump and mongorestore do"),
    (
        &["--maintainInsertionOrder"],
        "of several rows with one identity, the order in the source decides which one is stored; the other documents \
         have no order, and --lineage stores their row numbers",
    ),
    (&["--bypassDocumentValidation"], "a document that violates the validator is never stored; its row is rejected"),
    (
        &["--sort", "--skip", "--forceTableScan"],
        "an export is in the order of the _id; choose documents with --query and --limit",
    ),
    (&["--pretty", "--jsonFormat"], "an export as JSON has one document per line, in relaxed Extended JSON"),
    (&["--noHeaderLine"], "an export has a header, so that it can be loaded again; remove it with tail -n +2"),
    (&["--assertExists"], "medlift export and verify always require that the collection exists"),
    (&["--readPreference", "--slaveOk"], "documents are always read from the primary, with read concern majority"),
    (
        &["--sslAllowInvalidCertificates", "--sslAllowInvalidHostnames", "--tlsInsecure"],
        "certificates are always checked; --tls-ca-file names the authority that signed the server's certificate",
    ),
    (
        &["--legacy"],
        "JSON is read in the canonical and the relaxed form of Extended JSON; export files in the older form again with a \
         present mongoexport",
    ),
    (
        &["--authenticationMechanism", "--awsSessionToken", "--gssapiServiceName", "--gssapiHostName"],
        "a user with a password signs in with SCRAM, and a client certificate (--tls-certificate-key-file) with X.509; \
         name another mechanism in the connection string, as authMechanism",
    ),
    (&["--sslPEMKeyPassword"], "encrypted keys are not supported; decrypt the key with openssl pkey"),
    (&["--sslCRLFile", "--sslFIPSMode"], "Medlift reads no revocation lists and has no FIPS mode"),
    (&["--verbose", "-v"], "this command has no steps to report; medlift load and verify have the option"),
];

/// Returns the message about an option that the command does not have. `typed` is the option in kebab-case, for example
/// `--field-file`. Returns `None` if the option is not in `OPTIONS`.
pub(super) fn message(typed: &str, kebab_case: impl Fn(&str) -> String) -> Option<String> {
    let named = |(names, instead): &(&[&str], &'static str)| {
        let name = names.iter().copied().find(|name| *name == typed || kebab_case(name) == typed)?;
        Some((name.to_owned(), *instead))
    };
    let (name, instead) = OPTIONS.iter().find_map(named)?;
    Some(format!("this command has no option {name}; {instead}"))
}
