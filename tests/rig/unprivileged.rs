//! Whom servers of our own run as.

use std::{io, process::Command};

/// User and group ids of `name` where we are root, as whom servers should not run and some will not; `None` where we are
/// somebody else, as whom they run then.
///
/// # Errors
/// When there is no such user, or no `id` to ask.
pub(crate) fn user(name: &str) -> io::Result<Option<(u32, u32)>> {
    let id = |flag: &str, user: Option<&str>| -> io::Result<u32> {
        let told = Command::new("id").arg(flag).args(user).output()?;
        String::from_utf8_lossy(&told.stdout)
            .trim()
            .parse()
            .map_err(io::Error::other)
    };
    if id("-u", None)? != 0 {
        return Ok(None);
    }
    Ok(Some((id("-u", Some(name))?, id("-g", Some(name))?)))
}
