//! A minimal client of the MongoDB wire protocol: `OP_MSG` over one TCP connection, without TLS, sign-in or retries.
//!
//! This crate sets up test servers with this client, because the MongoDB driver would be too large a dependency. The
//! benchmark uses the client to send documents that are already encoded, and so measures the time of the server alone.
//!
//! Format of the messages: <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bson::Document;

use crate::{Doing, Error, Result};

const OP_MSG: i32 = 2013;
const HEADER_BYTES: usize = 16;
/// The server's limit for a message, `maxMessageSizeBytes`. All server versions so far have the same limit.
const MESSAGE_BYTES_MAX: usize = 48_000_000;

/// One connection to a server.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    request_id: i32,
    message: Vec<u8>,
}

/// A document sequence: documents that follow the command in the same message, as in bulk inserts. In the protocol,
/// this is a section of kind 1.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// The name of the command's argument that has these documents as its value: `documents` for `insert`.
    pub argument: &'a str,
    /// BSON documents, one directly after another.
    pub documents: &'a [u8],
}

impl Wire {
    /// Connects. `timeout` limits the connection attempt, and later each read and each write.
    pub fn connect(address: SocketAddr, timeout: Duration) -> Result<Self> {
        let doing = || format!("connecting to {address}");
        let stream = TcpStream::connect_timeout(&address, timeout).doing(doing)?;
        stream.set_nodelay(true).doing(doing)?;
        stream.set_read_timeout(Some(timeout)).doing(doing)?;
        stream.set_write_timeout(Some(timeout)).doing(doing)?;
        Ok(Self { stream, request_id: 0, message: Vec::new() })
    }

    /// Runs a command and returns the reply. The command must contain `$db`. A reply with `ok: 0` becomes
    /// [`Error::Command`].
    pub fn command(&mut self, command: &Document) -> Result<Document> {
        self.command_with(command, None)
    }

    /// Runs a command with a document sequence. Write errors are not an error here: the reply contains them as
    /// `writeErrors`.
    pub fn command_with(&mut self, command: &Document, sequence: Option<Sequence<'_>>) -> Result<Document> {
        let name = command.keys().next().map_or("an empty command", String::as_str);
        self.request_id = self.request_id.wrapping_add(1);
        encode(&mut self.message, self.request_id, command, sequence)?;
        self.stream.write_all(&self.message).doing(|| format!("sending {name}"))?;
        let reply = self.receive(name)?;
        refuse_failure(name, &reply)?;
        Ok(reply)
    }

    fn receive(&mut self, name: &str) -> Result<Document> {
        let doing = || format!("reading the reply to {name}");
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).doing(doing)?;
        let length = usize::try_from(int32_at(&header, 0)).unwrap_or(0);
        // The smallest message has a header, 4 bytes of flags, 1 byte for the section's kind, and 5 bytes for an empty
        // document.
        if !(HEADER_BYTES + 4 + 1 + 5..=MESSAGE_BYTES_MAX).contains(&length) || int32_at(&header, 12) != OP_MSG {
            return Err(Error::failed(format!("{}: not an OP_MSG reply", doing())));
        }
        let mut body = vec![0; length - HEADER_BYTES];
        self.stream.read_exact(&mut body).doing(doing)?;
        Document::from_reader(&body[5..]).map_err(|error| Error::failed(format!("{}: {error}", doing())))
    }
}

fn encode(message: &mut Vec<u8>, request_id: i32, command: &Document, sequence: Option<Sequence<'_>>) -> Result<()> {
    message.clear();
    for field in [0, request_id, 0, OP_MSG, 0] {
        message.extend_from_slice(&i32::to_le_bytes(field));
    }
    message.push(0);
    command.to_writer(&mut *message).map_err(|error| Error::failed(format!("encoding a command: {error}")))?;
    if let Some(Sequence { argument, documents }) = sequence {
        message.push(1);
        message.extend_from_slice(&length_field(4 + argument.len() + 1 + documents.len())?);
        message.extend_from_slice(argument.as_bytes());
        message.push(0);
        message.extend_from_slice(documents);
    }
    let length = length_field(message.len())?;
    message[..4].copy_from_slice(&length);
    Ok(())
}

fn length_field(bytes: usize) -> Result<[u8; 4]> {
    match i32::try_from(bytes) {
        Ok(length) if bytes <= MESSAGE_BYTES_MAX => Ok(length.to_le_bytes()),
        _ => Err(Error::failed(format!("a message of {bytes} bytes is over the limit of {MESSAGE_BYTES_MAX}"))),
    }
}

fn refuse_failure(name: &str, reply: &Document) -> Result<()> {
    if reply.get_f64("ok").is_ok_and(|ok| ok > 0.0) || reply.get_i32("ok").is_ok_and(|ok| ok > 0) {
        return Ok(());
    }
    Err(Error::Command {
        command: name.to_owned(),
        code: reply.get_i32("code").unwrap_or(0),
        message: reply.get_str("errmsg").unwrap_or("no reason given").to_owned(),
    })
}

fn int32_at(bytes: &[u8; HEADER_BYTES], offset: usize) -> i32 {
    i32::from_le_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]])
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn encodes_the_bytes_of_the_protocol() {
        let mut message = Vec::new();
        let documents = doc! {}.to_vec().expect("encodes");
        let sequence = Sequence { argument: "documents", documents: &documents };
        encode(&mut message, 7, &doc! {}, Some(sequence)).expect("encodes");
        let mut expected = vec![46, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(&[0, 5, 0, 0, 0, 0]);
        expected.extend_from_slice(b"\x01\x13\0\0\0documents\0\x05\0\0\0\0");
        assert_eq!(message, expected);
    }

    #[test]
    fn a_message_over_the_limit_is_refused() {
        assert!(length_field(MESSAGE_BYTES_MAX).is_ok());
        assert!(length_field(MESSAGE_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn a_reply_that_is_not_ok_is_an_error() {
        assert!(refuse_failure("ping", &doc! { "ok": 1.0 }).is_ok());
        let error = refuse_failure("ping", &doc! { "ok": 0.0, "code": 13, "errmsg": "no" }).expect_err("refused");
        assert_eq!(error.to_string(), "the server refused ping: no (code 13)");
    }
}
