//! Which addresses may be called. Pure, and asked about the very address that is connected to.
//!
//! Whoever may make Tasks chooses where the controller connects to, and the controller stands where they may not reach:
//! on the network of the control plane, beside the metadata service of a cloud that hands out credentials.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Rules about addresses. Some are never called, whatever the rules say: see [`Networks::judge`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Where not empty, nothing else is called.
    pub allow: Vec<Network>,
    /// Never called; wins over `allow`.
    pub deny: Vec<Network>,
    /// Loopback may be called also where `allow` does not name it.
    pub loopback: bool,
}

/// Why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Denied {
    #[error("{address} is not called: it is {what}")]
    Never { address: IpAddr, what: &'static str },
    #[error("{address} is not called: it is loopback, which must be allowed (--callback-allow)")]
    Loopback { address: IpAddr },
    #[error("{address} is not called: it is in {network}, which is denied (--callback-deny)")]
    ByRule { address: IpAddr, network: Network },
    #[error("{address} is not called: it is in none of the allowed networks (--callback-allow)")]
    NotAllowed { address: IpAddr },
}

impl Networks {
    /// Whether an address may be called. An IPv6 address that carries an IPv4 address is judged as both.
    ///
    /// # Errors
    /// Link-local, metadata of clouds, unspecified, multicast, broadcast and reserved addresses always; loopback where it
    /// is not allowed; what the rules say.
    pub fn judge(&self, address: IpAddr) -> Result<(), Denied> {
        let forms = forms(address);
        if let Some(what) = forms.iter().find_map(|form| never(*form)) {
            return Err(Denied::Never { address, what });
        }
        let denied = |network: &&Network| forms.iter().any(|form| network.contains(*form));
        if let Some(network) = self.deny.iter().find(denied) {
            return Err(Denied::ByRule {
                address,
                network: *network,
            });
        }
        let loopback = forms.iter().any(IpAddr::is_loopback);
        if loopback && self.loopback {
            return Ok(());
        }
        let allowed = self
            .allow
            .iter()
            .any(|network| network.contains(address.to_canonical()));
        match (allowed, loopback) {
            (true, _) => Ok(()),
            (false, true) => Err(Denied::Loopback { address }),
            (false, false) if self.allow.is_empty() => Ok(()),
            (false, false) => Err(Denied::NotAllowed { address }),
        }
    }
}

/// The address itself, and those that it carries.
fn forms(address: IpAddr) -> Vec<IpAddr> {
    let mut forms = vec![address];
    if let IpAddr::V6(v6) = address {
        forms.extend(carried(v6).into_iter().map(IpAddr::V4));
    }
    forms
}

/// IPv4 addresses within an IPv6 address: translators, relays and tunnels on the way may send there.
fn carried(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let s = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let last = pair(s[6], s[7]);
    match s {
        // Unspecified and loopback are no IPv4-compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
        // IPv4-compatible and -mapped (RFC 4291, section 2.5.5), and IPv4-translated (RFC 2765).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => vec![last],
        // NAT64, well-known prefix (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![last],
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => vec![pair(high, low)],
        // Teredo (RFC 4380): the server, and the client with its bits turned.
        [0x2001, 0, ..] => vec![pair(s[2], s[3]), pair(!s[6], !s[7])],
        // ISATAP (RFC 5214).
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![last],
        _ => Vec::new(),
    }
}

/// What an address is that is never called.
fn never(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => never_v4(v4),
        IpAddr::V6(v6) => never_v6(v6),
    }
}

fn never_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [169, 254, ..] => Some("link-local"),
        // Alibaba, Azure, Oracle; all others are link-local.
        [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => {
            Some("the metadata service of a cloud")
        }
        [224..=239, ..] => Some("multicast"),
        [255, 255, 255, 255] => Some("broadcast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn never_v6(address: Ipv6Addr) -> Option<&'static str> {
    /// AWS, Google, Scaleway.
    const METADATA: [Ipv6Addr; 3] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    ];
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        // RFC 8215: an operator chose where the IPv4 address lies in it.
        [0x64, 0xff9b, 1, ..] => Some("a translated address that cannot be read"),
        _ if METADATA.contains(&address) => Some("the metadata service of a cloud"),
        _ => None,
    }
}

/// A network: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 10.0.0.0/8, fd00::/8 or 192.0.2.7")]
pub struct NetworkError(String);

impl Network {
    /// Whether an address of the same family lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u32::from(own) ^ u32::from(other);
                differ.leading_zeros() >= u32::from(self.length)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = u128::from(own) ^ u128::from(other);
                differ.leading_zeros() >= u32::from(self.length)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let refused = || NetworkError(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            // `u8` would read `+8` too.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| refused())?
            }
            Some(_) => return Err(refused()),
            None => most,
        };
        if length > most {
            return Err(refused());
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
#[path = "networks_tests.rs"]
mod tests;
