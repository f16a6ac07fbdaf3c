//! Passwords in `.env` that the stack refuses.

use super::expect;
use super::passwords::Passwords;
use super::stack::{Stack, outcome};
use testkit::{Doing, Result};

const WEAK: &str = "READER_PASS=short\n";
const OTHER_ROOT: &str = "MONGO_ROOT_PASS=another-root-password-1\n";

/// Writes a weak password and another root password to `.env`. Checks that the output of the service `app` names both
/// problems, and that the root password in use does not change. Then removes `.env`, starts the stack again, and checks
/// that the weak password is not in use.
pub(super) fn check(stack: &Stack) -> Result<()> {
    let root = |passwords: Passwords| passwords.of("mongo_root").map(str::to_owned);
    let before = root(stack.passwords()?)?;
    let env = stack.file(".env");
    std::fs::write(&env, format!("{WEAK}{OTHER_ROOT}")).doing(|| "writing .env".to_owned())?;
    let refused = refusal(stack);
    std::fs::remove_file(&env).doing(|| "removing .env".to_owned())?;
    let refused = refused?;
    for part in ["READER_PASS is too weak", "is not the root password of the database", "nothing was done"] {
        expect(refused.contains(part), &format!("the output of app contains: {part}"))?;
    }
    expect(root(stack.passwords()?)? == before, "the root password in use is unchanged")?;
    stack.compose(&["up", "-d"])?;
    stack.wait_for("app")?;
    expect(stack.passwords()?.of("reader")? != "short", "the weak password is not in use")
}

/// Starts the stack with the refused passwords. Returns the output of the service `app`.
fn refusal(stack: &Stack) -> Result<String> {
    stack.compose(&["up", "-d"])?;
    expect(stack.wait_for("app").is_err(), "app does not load while a password is refused")?;
    let mut logs = stack.compose_command(&["logs", "--no-color", "app"]);
    outcome(&mut logs, "reading the output of app")
}
