//! Where a task may connect to, as rules of a NetworkPolicy. Pure.
//!
//! In both worlds rules allow, and what no rule names is closed. A NetworkPolicy knows blocks of addresses in place of
//! ranges, and no ICMP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::Unsupported;
use crate::facade::dialects::diego::messages::SecurityGroupRule;

/// Most blocks of addresses of a task. A range may take 62 of IPv4, 254 of IPv6.
const MAX_BLOCKS: usize = 2048;
/// Most rules, as the Task's schema has it.
const MAX_RULES: usize = 256;

/// Rules that were found valid, as `pod.egress` has them. Rules about ICMP have no counterpart and are left out.
///
/// # Errors
/// There are too many.
pub fn rules(rules: &[SecurityGroupRule]) -> Result<Vec<Map<String, Value>>, Unsupported> {
    let mut blocks = 0;
    let mut kept = Vec::new();
    for rule in rules.iter().filter(|rule| !is_icmp(rule)) {
        let cidrs: Vec<String> = rule
            .destinations
            .iter()
            .flat_map(|text| text.split(','))
            .flat_map(cidrs)
            // One request has room for a million.
            .take(MAX_BLOCKS + 1)
            .collect();
        blocks += cidrs.len();
        if blocks > MAX_BLOCKS || kept.len() == MAX_RULES {
            return Err(Unsupported::Egress);
        }
        let to: Vec<Value> = cidrs
            .iter()
            .map(|cidr| json!({"ipBlock": {"cidr": cidr}}))
            .collect();
        let mut policy = Map::from_iter([("to".to_owned(), json!(to))]);
        if let Some(ports) = ports(rule) {
            policy.insert("ports".to_owned(), json!(ports));
        }
        kept.push(policy);
    }
    Ok(kept)
}

/// Parts of the rules that have no effect here.
pub fn not_kept(rules: &[SecurityGroupRule]) -> Vec<&'static str> {
    let parts = [
        ("egress_rules.icmp", rules.iter().any(is_icmp)),
        ("egress_rules.log", rules.iter().any(|rule| rule.log)),
    ];
    parts
        .into_iter()
        .filter_map(|(name, is_set)| is_set.then_some(name))
        .collect()
}

fn is_icmp(rule: &SecurityGroupRule) -> bool {
    matches!(rule.protocol.as_str(), "icmp" | "icmpv6")
}

/// `None` = every port of every protocol.
fn ports(rule: &SecurityGroupRule) -> Option<Vec<Value>> {
    let protocol = match rule.protocol.as_str() {
        "tcp" => "TCP",
        "udp" => "UDP",
        _ => return None,
    };
    Some(match rule.port_range {
        Some(range) => vec![json!({"protocol": protocol, "port": range.start, "endPort": range.end})],
        None => rule
            .ports
            .iter()
            .map(|port| json!({"protocol": protocol, "port": port}))
            .collect(),
    })
}

/// The blocks that make up an address, a block or a range with both ends.
fn cidrs(text: &str) -> Vec<String> {
    if let Some((first, last)) = text.split_once('-') {
        return match (first.parse(), last.parse()) {
            (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) => {
                blocks(u32::from(first).into(), u32::from(last).into(), 32)
                    .map(|(address, bits)| {
                        // Within the range, so 32 bits.
                        let address = u32::try_from(address).unwrap_or(u32::MAX);
                        format!("{}/{bits}", Ipv4Addr::from(address))
                    })
                    .collect()
            }
            (Ok(IpAddr::V6(first)), Ok(IpAddr::V6(last))) => blocks(first.into(), last.into(), 128)
                .map(|(address, bits)| format!("{}/{bits}", Ipv6Addr::from(address)))
                .collect(),
            _ => Vec::new(),
        };
    }
    match text.parse() {
        Ok(IpAddr::V4(address)) => vec![format!("{address}/32")],
        Ok(IpAddr::V6(address)) => vec![format!("{address}/128")],
        // A block; found valid before.
        Err(_) => vec![text.to_owned()],
    }
}

/// The fewest blocks, as first address and length of the prefix, that make up a range of addresses of so many bits.
fn blocks(first: u128, last: u128, width: u32) -> impl Iterator<Item = (u128, u32)> {
    let mut next = (first <= last).then_some(first);
    std::iter::from_fn(move || {
        let from = next?;
        // As large as the address is aligned, and no larger than what is left.
        let mut free = from.trailing_zeros().min(width);
        while free > 0 && end(from, free) > last {
            free -= 1;
        }
        next = end(from, free).checked_add(1).filter(|next| *next <= last);
        Some((from, width - free))
    })
}

/// The last address of a block with so many free bits.
fn end(from: u128, free: u32) -> u128 {
    match 1_u128.checked_shl(free) {
        Some(size) => from.saturating_add(size - 1),
        None => u128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::facade::dialects::diego::messages::{IcmpInfo, PortRange};

    fn rule(protocol: &str, destinations: &[&str]) -> SecurityGroupRule {
        SecurityGroupRule {
            protocol: protocol.into(),
            destinations: destinations.iter().map(|text| (*text).to_owned()).collect(),
            ..SecurityGroupRule::default()
        }
    }

    #[test]
    fn each_protocol_has_its_rule_and_icmp_has_none() {
        let listed = SecurityGroupRule {
            ports: vec![53, 54],
            log: true,
            ..rule("udp", &["8.8.0.0/16"])
        };
        let ranged = SecurityGroupRule {
            port_range: Some(PortRange { start: 1, end: 65535 }),
            ..rule("tcp", &["10.0.0.1,2001:db8::1", "10.0.0.1-10.0.0.2"])
        };
        let icmp = SecurityGroupRule {
            icmp_info: Some(IcmpInfo { kind: -1, code: -1 }),
            ..rule("icmp", &["0.0.0.0/0"])
        };
        let all = [listed, ranged, icmp, rule("all", &["0.0.0.0/0"])];
        let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
        assert_eq!(
            json!(rules(&all).unwrap()),
            json!([
                {"to": [block("8.8.0.0/16")], "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "UDP", "port": 54}]},
                {"to": [block("10.0.0.1/32"), block("2001:db8::1/128"), block("10.0.0.1/32"), block("10.0.0.2/32")],
                    "ports": [{"protocol": "TCP", "port": 1, "endPort": 65535}]},
                {"to": [block("0.0.0.0/0")]},
            ])
        );
        assert_eq!(not_kept(&all), ["egress_rules.icmp", "egress_rules.log"]);
        assert_eq!((rules(&[]).unwrap(), not_kept(&[])), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_range_becomes_the_fewest_blocks() {
        for (range, expected) in [
            ("10.0.0.0-10.0.0.255", vec!["10.0.0.0/24"]),
            ("0.0.0.0-255.255.255.255", vec!["0.0.0.0/0"]),
            (
                "10.0.0.1-10.0.0.6",
                vec!["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"],
            ),
            ("255.255.255.255-255.255.255.255", vec!["255.255.255.255/32"]),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", vec!["::/0"]),
            (
                "2001:db8::1-2001:db8::2",
                vec!["2001:db8::1/128", "2001:db8::2/128"],
            ),
        ] {
            assert_eq!(cidrs(range), expected, "{range}");
        }
        assert_eq!(cidrs("0.0.0.1-255.255.255.254").len(), 62);
    }

    #[test]
    fn rules_without_end_are_refused() {
        let wide = rule("all", &["::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"]);
        assert!(matches!(rules(&vec![wide.clone(); 9]), Err(Unsupported::Egress)));
        assert!(matches!(
            rules(&vec![rule("all", &["10.0.0.1"]); 257]),
            Err(Unsupported::Egress)
        ));
        assert_eq!(rules(&[wide]).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn blocks_cover_a_range_without_a_gap(one in any::<u32>(), other in any::<u32>()) {
            let (first, last) = (u128::from(one.min(other)), u128::from(one.max(other)));
            let mut next = first;
            for (from, bits) in blocks(first, last, 32) {
                prop_assert_eq!(from, next);
                next = end(from, 32 - bits) + 1;
            }
            prop_assert_eq!(next, last + 1);
        }
    }
}
