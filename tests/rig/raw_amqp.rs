//! Just enough of AMQP, by hand, to send what no client library lets out.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// A channel to a broker, as the user `guest`.
pub struct RawAmqp {
    stream: TcpStream,
}

impl RawAmqp {
    /// Opens a channel in a virtual host.
    ///
    /// # Panics
    /// When the broker does not let us.
    #[must_use]
    pub fn open(url: &str) -> Self {
        let place = url.rsplit_once('@').expect("user@host").1;
        let (address, vhost) = place.split_once('/').unwrap_or((place, "/"));
        let mut raw = Self {
            stream: TcpStream::connect(address).expect("a connection"),
        };
        raw.stream.write_all(b"AMQP\0\0\x09\x01").expect("written");
        raw.expect_method(10, 10);
        let mut start = vec![0; 4];
        start.extend(short("PLAIN"));
        start.extend(12_u32.to_be_bytes());
        start.extend(b"\0guest\0guest");
        start.extend(short("en_US"));
        raw.method(0, 10, 11, &start);
        let mut tune = raw.expect_method(10, 30);
        // No heartbeats.
        tune.truncate(6);
        tune.extend([0, 0]);
        raw.method(0, 10, 31, &tune);
        raw.method(0, 10, 40, &[short(vhost), vec![0, 0]].concat());
        raw.expect_method(10, 41);
        raw.method(1, 20, 10, &[0]);
        raw.expect_method(20, 11);
        raw
    }

    /// Publishes an empty message whose headers are tables in tables, so many deep.
    pub fn publish_nested(&mut self, exchange: &str, key: &str, depth: u32) {
        self.method(
            1,
            60,
            40,
            &[vec![0, 0], short(exchange), short(key), vec![0]].concat(),
        );
        let mut header = vec![0, 60, 0, 0];
        header.extend(0_u64.to_be_bytes());
        // Of the properties, only headers are there.
        header.extend(0x2000_u16.to_be_bytes());
        for level in (1..=depth).rev() {
            // Seven bytes a level: a name of one letter, the type of its value, the length of that.
            header.extend((7 * level).to_be_bytes());
            header.extend(b"\x01kF");
        }
        header.extend(0_u32.to_be_bytes());
        self.frame(2, 1, &header);
    }

    /// Closes the channel, which the broker answers when it has taken everything before.
    pub fn close(mut self) {
        self.method(1, 20, 40, &[0, 200, 0, 0, 0, 0, 0]);
        self.expect_method(20, 41);
    }

    fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.frame(1, channel, &payload);
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let length = u32::try_from(payload.len())
            .expect("a frame is small")
            .to_be_bytes();
        let frame = [
            &[kind][..],
            &channel.to_be_bytes(),
            &length,
            payload,
            &[0xCE],
        ]
        .concat();
        self.stream.write_all(&frame).expect("written");
    }

    /// Reads the next method, which must be this one; its arguments.
    fn expect_method(&mut self, class: u16, method: u16) -> Vec<u8> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).expect("a frame");
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; length as usize + 1];
        self.stream.read_exact(&mut payload).expect("a whole frame");
        payload.pop();
        let got = (
            u16::from_be_bytes([payload[0], payload[1]]),
            u16::from_be_bytes([payload[2], payload[3]]),
        );
        assert_eq!(
            got,
            (class, method),
            "{}",
            String::from_utf8_lossy(&payload)
        );
        payload.split_off(4)
    }
}

fn short(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    [&[length][..], text.as_bytes()].concat()
}
