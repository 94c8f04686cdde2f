//! Addresses that may hold a password: taken apart so that no piece of the password is taken for something that is shown.
//!
//! A password with a raw `/`, `?`, `#` or `@` ends the user's part of a URL too early, and its tail would pass for host,
//! database or option. Such a URL is refused before anything of it is shown; no fault here repeats what was written.

/// Why an address is refused. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No `scheme://`.
    #[error("it is no URL")]
    NoUrl,
    /// A `#`, or an `@` after the host.
    #[error(
        "an `@` or `#` stands where none may: percent-encode each / ? # @ % and blank of user and password, \
         as in p%40ss for p@ss"
    )]
    Raw,
    /// A `%` without two digits.
    #[error(
        "a `%` is not followed by two hexadecimal digits: percent-encode a `%` of the password as %25"
    )]
    Percent,
    /// A blank or a control character.
    #[error(
        "it holds a blank or a control character: percent-encode it (a blank is %20), or remove it"
    )]
    Blank,
    /// What is decoded is no text.
    #[error("what is percent-encoded in it is not UTF-8")]
    NotText,
    /// A host with characters that no host has.
    #[error("the host is none; if it is a piece of the password, percent-encode user and password")]
    Host,
    /// A port that is no number.
    #[error(
        "the port is no number up to 65535; if it is a piece of the password, percent-encode user and password"
    )]
    Port,
}

/// The parts of a URL, still encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Scheme, as written.
    pub scheme: &'a str,
    /// User, if one is named.
    pub user: Option<&'a str>,
    /// Password, if one is named.
    pub password: Option<&'a str>,
    /// Host and port, or several with commas between.
    pub hosts: &'a str,
    /// After the hosts, without the first `/`.
    pub path: &'a str,
    /// After `?`.
    pub query: &'a str,
}

impl<'a> Parts<'a> {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`Fault`] when it may be meant otherwise than it reads.
    pub fn of(url: &'a str) -> Result<Self, Fault> {
        let (scheme, rest) = url.split_once("://").ok_or(Fault::NoUrl)?;
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Fault::Blank);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        if after.contains(['@', '#']) {
            return Err(Fault::Raw);
        }
        // A host has no `@`, so the last one ends the user's part.
        let (login, hosts) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(l, h)| (Some(l), h));
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (Some(user), Some(password).filter(|p| !p.is_empty())),
            None => (None, None),
        };
        let (path, query) = after.split_once('?').unwrap_or((after, ""));
        let parts = Self {
            scheme,
            user: user.filter(|user| !user.is_empty()),
            password,
            hosts,
            path: path.strip_prefix('/').unwrap_or(path),
            query,
        };
        for part in [user, password, Some(hosts), Some(path), Some(query)]
            .into_iter()
            .flatten()
        {
            decoded(part)?;
        }
        Ok(parts)
    }

    /// Host and port of each server; `None` where no port is written.
    ///
    /// # Errors
    /// [`Fault::Host`], [`Fault::Port`].
    pub fn servers(&self) -> Result<Vec<(String, Option<u16>)>, Fault> {
        self.hosts.split(',').map(server).collect()
    }
}

/// `host`, `host:port`, `[::1]:port`, or a folder of sockets as `%2Frun%2Fpostgresql`.
fn server(written: &str) -> Result<(String, Option<u16>), Fault> {
    let (host, port) = match written.strip_prefix('[') {
        Some(six) => {
            let (six, rest) = six.split_once(']').ok_or(Fault::Host)?;
            six.parse::<std::net::Ipv6Addr>().map_err(|_| Fault::Host)?;
            (
                format!("[{six}]"),
                rest.strip_prefix(':').or((!rest.is_empty()).then_some("")),
            )
        }
        None => {
            let (host, port) = written
                .split_once(':')
                .map_or((written, None), |(h, p)| (h, Some(p)));
            let host = decoded(host)?;
            check_host(&host)?;
            (host, port)
        }
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(self::port(port)?),
    };
    Ok((host, port))
}

/// A port.
///
/// # Errors
/// [`Fault::Port`].
pub fn port(written: &str) -> Result<u16, Fault> {
    written
        .parse::<u16>()
        .ok()
        .filter(|port| *port > 0)
        .ok_or(Fault::Port)
}

/// Whether this may be a host's name or address, or a folder.
///
/// # Errors
/// [`Fault::Host`].
pub fn check_host(host: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_folder = host.starts_with('/');
    if is_folder || host.chars().all(fits) {
        Ok(())
    } else {
        Err(Fault::Host)
    }
}

/// The text behind a percent-encoding.
///
/// # Errors
/// [`Fault::Percent`], [`Fault::NotText`].
pub fn decoded(text: &str) -> Result<String, Fault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let [high, low, after @ ..] = rest else {
            return Err(Fault::Percent);
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let (high, low) = digit(high).zip(digit(low)).ok_or(Fault::Percent)?;
        bytes.push(u8::try_from(high * 16 + low).unwrap_or(u8::MAX));
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| Fault::NotText)
}

/// A text percent-encoded: all but letters and digits.
#[must_use]
pub fn encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric() {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_by_its_last_at() {
        let parts = Parts::of("postgres://u:s@cret@h:5,[::1],%2Frun:6/db?x=y").expect("a URL");
        assert_eq!((parts.user, parts.password), (Some("u"), Some("s@cret")));
        assert_eq!((parts.path, parts.query), ("db", "x=y"));
        let servers = parts.servers().expect("servers");
        let expected = [("h", Some(5)), ("[::1]", None), ("/run", Some(6))];
        assert!(
            servers.iter().map(|(h, p)| (h.as_str(), *p)).eq(expected),
            "{servers:?}"
        );
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_not_repeated() {
        for (url, fault) in [
            ("postgres://u:/Kq7W+Wz9X?E':Xv3J@127.0.0.1:1/db", Fault::Raw),
            ("postgres://u:Kq7W#Wz9X@127.0.0.1:1/db", Fault::Raw),
            ("postgres://u:Kq7W#Wz9X", Fault::Raw),
            ("postgres://u:Kq7W/Wz9X@h", Fault::Raw),
            ("postgres://u:Kq7W@x/Wz9X@h", Fault::Raw),
            ("postgres://u:Kq7W?Wz9X@h", Fault::Raw),
            ("postgres://u:Kq7W%Wz9X@h", Fault::Percent),
            ("postgres://u:Kq7W%4", Fault::Percent),
            ("postgres://u:Kq7W Wz9X@h/db", Fault::Blank),
            ("postgres://u:Kq7W@h/db\n", Fault::Blank),
            ("postgres://u:%ff@h/db", Fault::NotText),
            ("u:Kq7W@h/db", Fault::NoUrl),
        ] {
            let refused = Parts::of(url).err();
            assert_eq!(refused, Some(fault), "{url}");
            let words = fault.to_string();
            assert!(
                ["Kq7W", "Wz9X", "Xv3J"]
                    .iter()
                    .all(|piece| !words.contains(piece)),
                "{words}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_host_is_no_host() {
        for (url, fault) in [
            ("postgres://u:Kq7W/db", Fault::Port),
            ("postgres://h:0/db", Fault::Port),
            ("postgres://h:70000/db", Fault::Port),
            ("postgres://h:5:6/db", Fault::Port),
            ("postgres://Kq7W+Wz9X/db", Fault::Host),
            ("postgres://Kq7W!/db", Fault::Host),
            ("postgres://[h]/db", Fault::Host),
            ("postgres://[::1/db", Fault::Host),
        ] {
            let refused = Parts::of(url).and_then(|parts| parts.servers()).err();
            assert_eq!(refused, Some(fault), "{url}");
        }
    }

    #[test]
    fn encoding_and_decoding_are_inverse() {
        let odd = "a/b?c#d@e%f g:h&i=ü\\'";
        assert_eq!(decoded(&encoded(odd)).as_deref(), Ok(odd));
        assert!(
            encoded(odd)
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '%')
        );
    }
}
