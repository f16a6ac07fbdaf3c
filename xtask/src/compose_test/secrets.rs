//! Searches for the stack's passwords in places where another person could read them.

use super::passwords::Passwords;
use super::stack::{Stack, docker};
use testkit::{Error, Result};

/// Searches the containers' settings, command lines, processes and logs, and the layers of the image, for passwords.
pub(super) fn check(stack: &Stack, passwords: &Passwords) -> Result<()> {
    let containers = stack.containers()?;
    let mut places = vec![
        ("the logs", stack.compose(&["logs", "--no-color"])?),
        ("the database's log", stack.compose(&["exec", "-T", "mongo", "cat", "/data/db/mongod.log"])?),
        ("the image's layers", docker(&["history", "--no-trunc", stack.image()])?),
        ("the image's settings", docker(&["image", "inspect", stack.image()])?),
    ];
    for container in &containers {
        places.push(("a container's settings", docker(&["inspect", container])?));
        // Only a running container has processes.
        places.push(("a process list", docker(&["top", container]).unwrap_or_default()));
    }
    for (place, text) in places {
        if let Some((name, _)) = passwords.0.iter().find(|(_, password)| text.contains(password)) {
            return Err(Error::failed(format!("{name} is in {place}")));
        }
    }
    Ok(())
}
