//! `medlift send`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use medlift::error::Error;
use medlift::listen::send::{SendOptions, Sent, read_messages, send};

use super::number::whole;
use super::output;

const EXAMPLES: &str = "Examples:
  medlift send --mllp localhost:2575 'messages/*.hl7'
  medlift send --mllp interface.example:2575 day.hl7.gz --connections 8 --rate 500";

/// Send HL7 v2 messages over MLLP, to try a receiver out
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SendArgs {
    /// Files with messages, or patterns; gzip and zstd are recognised
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// The receiver
    #[arg(long, value_name = "HOST:PORT", value_parser = receiver)]
    mllp: (String, u16),
    /// Number of connections. On each, a message is sent when the one before it is answered
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1_usize, 10_000))]
    connections: usize,
    /// Messages per second on all connections together [default: as many as possible]
    #[arg(long, value_name = "N", value_parser = whole(1_u32, 10_000_000))]
    rate: Option<u32>,
    /// Number of times that all messages are sent
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1_u64, 1_000_000_000))]
    repeat: u64,
    /// How long to wait for an answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = whole(1_u64, 3_600))]
    timeout: u64,
    /// Use TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Print no result
    #[arg(long)]
    quiet: bool,
}

impl SendArgs {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        let messages = read_messages(&self.files)?;
        let (host, port) = self.mllp;
        let options = SendOptions {
            host,
            port,
            tls_authorities: self.tls_ca,
            connections: self.connections,
            rate: self.rate,
            repeat: self.repeat,
            patience: Duration::from_secs(self.timeout),
        };
        let sent = super::run_gracefully("stopping after the next answers", async |interrupt| {
            send(messages, options, interrupt).await
        })?;
        if self.json || !self.quiet {
            output::print(&sent, self.json)?;
        }
        Ok(exit_code(&sent))
    }
}

/// If some messages can be sent again, the exit code says so, even if other messages have errors.
fn exit_code(sent: &Sent) -> ExitCode {
    match sent {
        Sent { refused: 1.., .. } | Sent { unanswered: 1.., .. } => ExitCode::from(output::TEMPORARY),
        Sent { errors: 1.., .. } => ExitCode::from(output::WITH_REJECTS),
        _ => ExitCode::SUCCESS,
    }
}

/// Parses the address of the receiver.
fn receiver(text: &str) -> Result<(String, u16), String> {
    let problem = || "give the host and the port, for example localhost:2575".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(problem)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().map_err(|_| problem())?;
    if host.is_empty() { Err(problem()) } else { Ok((host.to_owned(), port)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_is_a_host_and_a_port() {
        assert_eq!(receiver("localhost:2575"), Ok(("localhost".to_owned(), 2575)));
        assert_eq!(receiver("[::1]:2575"), Ok(("::1".to_owned(), 2575)));
        for wrong in ["", "localhost", ":2575", "h:x", "h:70000"] {
            assert!(receiver(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_exit_code_says_whether_all_messages_were_accepted() {
        let check = |errors, refused, unanswered, expected: u8| {
            let sent = Sent { errors, refused, unanswered, ..Sent::default() };
            assert_eq!(exit_code(&sent), ExitCode::from(expected));
        };
        check(0, 0, 0, 0);
        check(1, 0, 0, 4);
        check(1, 1, 0, 6);
        check(0, 0, 1, 6);
    }
}
