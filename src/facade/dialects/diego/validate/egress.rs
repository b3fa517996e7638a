//! Rules about where a task may connect to.

use std::net::IpAddr;

use super::super::messages::SecurityGroupRule;

/// True for a rule that the real server takes; what is wrong with one it does not say.
pub fn is_valid(rule: &SecurityGroupRule) -> bool {
    let range = rule.port_range;
    let ranged = range.is_some_and(|range| range.start >= 1 && range.start <= range.end);
    let ports = match rule.protocol.as_str() {
        "tcp" | "udp" => {
            let listed = !rule.ports.is_empty() && rule.ports.iter().all(|port| *port >= 1);
            rule.icmp_info.is_none()
                && match (rule.ports.is_empty(), range) {
                    (true, Some(_)) => ranged,
                    (false, None) => listed,
                    _ => false,
                }
        }
        "icmp" | "icmpv6" => rule.icmp_info.is_some() && rule.ports.is_empty() && range.is_none(),
        "all" => rule.icmp_info.is_none() && rule.ports.is_empty() && range.is_none(),
        _ => false,
    };
    ports && !rule.destinations.is_empty() && rule.destinations.iter().all(|text| are_destinations(text))
}

/// One or more, parted by commas.
fn are_destinations(text: &str) -> bool {
    text.split(',').all(is_destination)
}

/// An address, a block of them, or a range with both ends.
fn is_destination(text: &str) -> bool {
    if let Some((first, last)) = text.split_once('-') {
        return match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
            (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) => first <= last,
            (Ok(IpAddr::V6(first)), Ok(IpAddr::V6(last))) => first <= last,
            _ => false,
        };
    }
    match text.split_once('/') {
        None => text.parse::<IpAddr>().is_ok(),
        Some((address, bits)) => {
            let most = match address.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => 32,
                Ok(IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
            digits && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::messages::{IcmpInfo, PortRange},
        *,
    };

    fn rule(protocol: &str) -> SecurityGroupRule {
        SecurityGroupRule {
            protocol: protocol.into(),
            destinations: vec!["8.8.0.0/16".into()],
            ..SecurityGroupRule::default()
        }
    }

    #[test]
    fn each_protocol_has_its_own_fields() {
        let range = |start, end| Some(PortRange { start, end });
        let icmp = Some(IcmpInfo { kind: -1, code: -1 });
        for (protocol, ports, range, icmp_info, legal) in [
            ("tcp", vec![80, 443], None, None, true),
            ("udp", vec![], range(1, 65535), None, true),
            ("tcp", vec![], range(7, 7), None, true),
            ("tcp", vec![], None, None, false),
            ("tcp", vec![80], range(1, 2), None, false),
            ("tcp", vec![0], None, None, false),
            ("tcp", vec![], range(0, 2), None, false),
            ("tcp", vec![], range(3, 2), None, false),
            ("tcp", vec![80], None, icmp, false),
            ("icmp", vec![], None, icmp, true),
            ("icmpv6", vec![], None, icmp, true),
            ("icmp", vec![], None, None, false),
            ("icmp", vec![1], None, icmp, false),
            ("all", vec![], None, None, true),
            ("all", vec![1], None, None, false),
            ("all", vec![], range(1, 2), None, false),
            ("all", vec![], None, icmp, false),
            ("TCP", vec![80], None, None, false),
            ("", vec![], None, None, false),
        ] {
            let rule = SecurityGroupRule {
                ports,
                port_range: range,
                icmp_info,
                ..rule(protocol)
            };
            assert_eq!(is_valid(&rule), legal, "{rule:?}");
        }
    }

    #[test]
    fn a_destination_is_an_address_a_block_or_a_range() {
        for (text, legal) in [
            ("8.8.8.8", true),
            ("0.0.0.0/0", true),
            ("10.0.0.1-10.0.0.9", true),
            ("10.0.0.1,10.0.1.0/24,10.0.2.1-10.0.2.1", true),
            ("2001:db8::1", true),
            ("2001:db8::/32", true),
            ("2001:db8::1-2001:db8::f", true),
            ("10.0.0.9-10.0.0.1", false),
            ("10.0.0.1-2001:db8::1", false),
            ("10.0.0.0/33", false),
            ("10.0.0.0/+8", false),
            ("10.0.0.0/", false),
            ("2001:db8::/129", false),
            ("example.com", false),
            ("10.0.0.1,", false),
            ("", false),
        ] {
            assert_eq!(are_destinations(text), legal, "{text}");
        }
        let none = SecurityGroupRule {
            destinations: Vec::new(),
            ..rule("all")
        };
        assert!(!is_valid(&none));
    }
}
