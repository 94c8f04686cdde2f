//! Ports for servers that bind their port themselves, each reserved until it is dropped.
//!
//! Between the choice of a port and the moment when a server binds it, and while a server is killed and started again,
//! the port must stay free. Port 0 does not give that: the kernel hands out ephemeral ports, and hands the same one to the
//! next outgoing connection. So ports are chosen below the ephemeral range. A UDP socket of the
//! same number, which no such server wants, reserves each against other tests; the kernel closes it with its process.
//! `scripts/dev-services` chooses its ports by the same rule.

use std::{
    fmt, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

/// Lowest port that is chosen: most services that a machine runs for everybody listen below.
const LOWEST: u16 = 10_000;
/// Where the ephemeral range of Linux begins unless the machine says otherwise.
const EPHEMERAL_FROM: u16 = 32_768;

/// A port of `127.0.0.1` that nobody else is given.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UdpSocket,
}

impl Port {
    /// Reserves a port that is free now.
    ///
    /// # Panics
    /// When no port below the ephemeral range is free.
    #[must_use]
    pub fn reserve() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let range = choice();
        let count = range.end - range.start;
        // Processes begin at different places, so that they seldom try the same port.
        let begin = u16::try_from(process::id() % u32::from(count))
            .unwrap_or_default()
            .wrapping_mul(31);
        let tried =
            (0..count).map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count);
        tried
            .map(|at| range.start + at)
            .find_map(Self::try_reserve)
            .expect("no port below the ephemeral range is free")
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Where a server on it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }

    fn try_reserve(number: u16) -> Option<Self> {
        let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        // Somebody who knows nothing of reservations may listen there.
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self {
            number,
            _reservation: reservation,
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// The ports to choose from.
fn choice() -> Range<u16> {
    let told = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let lowest = told.and_then(|range| range.split_whitespace().next()?.parse().ok());
    let end = lowest
        .filter(|&end: &u16| end > LOWEST + 1_000)
        .unwrap_or(EPHEMERAL_FROM);
    LOWEST..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_free_and_given_once() {
        let first = Port::reserve();
        assert!(choice().contains(&first.number()));
        assert!(
            Port::try_reserve(first.number()).is_none(),
            "reserved twice"
        );
        drop(TcpListener::bind(first.address()).expect("free for a server"));
        let number = first.number();
        drop(first);
        assert!(
            Port::try_reserve(number).is_some(),
            "a dropped port can be reserved again"
        );
    }

    #[test]
    fn a_port_somebody_listens_on_is_not_given() {
        let port = Port::reserve();
        let number = port.number();
        let _server = TcpListener::bind(port.address()).expect("free for a server");
        drop(port);
        assert!(Port::try_reserve(number).is_none());
    }
}
