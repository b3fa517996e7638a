use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn networks(allow: &[&str], deny: &[&str]) -> Networks {
    let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Networks {
        allow: parsed(allow),
        deny: parsed(deny),
        loopback: false,
    }
}

/// The verdict in one word.
fn verdict(networks: &Networks, text: &str) -> &'static str {
    match networks.judge(address(text)) {
        Ok(()) => "called",
        Err(Denied::Never { what, .. }) => what,
        Err(Denied::Loopback { .. }) => "loopback",
        Err(Denied::ByRule { .. }) => "denied",
        Err(Denied::NotAllowed { .. }) => "not allowed",
    }
}

const METADATA: &str = "the metadata service of a cloud";

#[test]
fn some_addresses_are_never_called_in_whatever_form_they_come() {
    let cases = [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("64:ff9b::", "unspecified"),
        ("169.254.0.1", "link-local"),
        ("169.254.169.254", "link-local"),
        ("169.254.170.2", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::ffff:a9fe:a9fe", "link-local"),
        ("::169.254.169.254", "link-local"),
        ("::ffff:0:169.254.169.254", "link-local"),
        ("64:ff9b::169.254.169.254", "link-local"),
        (
            "64:ff9b:1::93.184.216.34",
            "a translated address that cannot be read",
        ),
        ("2002:a9fe:a9fe::1", "link-local"),
        // The client of a Teredo address stands there with its bits turned.
        ("2001:0:808:808::5601:5601", "link-local"),
        ("2001:0:a9fe:a9fe::", "link-local"),
        ("2001:db8::5efe:169.254.169.254", "link-local"),
        ("2001:db8::200:5efe:169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("febf:ffff::1", "link-local"),
        ("fd00:ec2::254", METADATA),
        ("fd20:ce::254", METADATA),
        ("fd00:42::42", METADATA),
        ("100.100.100.200", METADATA),
        ("::ffff:100.100.100.200", METADATA),
        ("168.63.129.16", METADATA),
        ("192.0.0.192", METADATA),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("::ffff:224.0.0.251", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("240.0.0.1", "reserved"),
        ("64:ff9b::ffff:ffff", "broadcast"),
    ];
    let open = Networks {
        loopback: true,
        ..networks(&["0.0.0.0/0", "::/0"], &[])
    };
    for (text, what) in cases {
        assert_eq!(verdict(&Networks::default(), text), what, "{text}");
        assert_eq!(verdict(&open, text), what, "{text}, though all is allowed");
    }
}

#[test]
fn loopback_is_called_only_where_it_is_allowed() {
    for text in [
        "127.0.0.1",
        "127.255.0.9",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ] {
        let here = Networks {
            loopback: true,
            ..Networks::default()
        };
        assert_eq!(verdict(&Networks::default(), text), "loopback", "{text}");
        assert_eq!(verdict(&here, text), "called", "{text}");
    }
    let named = networks(&["127.0.0.0/8"], &[]);
    assert_eq!(verdict(&named, "127.0.0.1"), "called");
    assert_eq!(verdict(&named, "::ffff:127.0.0.1"), "called");
    assert_eq!(verdict(&named, "::1"), "loopback");
    assert_eq!(verdict(&named, "192.0.2.1"), "not allowed");
}

#[test]
fn all_others_are_called_unless_the_rules_say_otherwise() {
    let rules = [
        (
            networks(&[], &[]),
            ["called", "called", "called", "called", "called"],
        ),
        (
            networks(&[], &["10.0.0.0/8"]),
            ["denied", "called", "denied", "denied", "called"],
        ),
        (
            networks(&["10.0.0.0/8"], &[]),
            ["called", "not allowed", "called", "not allowed", "not allowed"],
        ),
        (
            networks(&["0.0.0.0/0", "::/0"], &["10.1.0.0/16", "fd00::/8"]),
            ["denied", "called", "denied", "denied", "denied"],
        ),
    ];
    for (networks, verdicts) in rules {
        let texts = [
            "10.1.2.3",
            "93.184.216.34",
            "::ffff:10.1.2.3",
            "64:ff9b::a01:203",
            "fd12::1",
        ];
        assert_eq!(
            texts.map(|text| verdict(&networks, text)),
            verdicts,
            "{networks:?}"
        );
    }
}

#[test]
fn a_refusal_is_a_sentence() {
    let said = |networks: &Networks, text: &str| networks.judge(address(text)).unwrap_err().to_string();
    let plain = Networks::default();
    assert_eq!(
        said(&plain, "169.254.169.254"),
        "169.254.169.254 is not called: it is link-local"
    );
    assert_eq!(
        said(&plain, "127.0.0.1"),
        "127.0.0.1 is not called: it is loopback, which must be allowed (--callback-allow)"
    );
    assert_eq!(
        said(&networks(&[], &["10.0.0.0/8"]), "10.0.0.1"),
        "10.0.0.1 is not called: it is in 10.0.0.0/8, which is denied (--callback-deny)"
    );
}

#[test]
fn networks_are_read_and_written() {
    for (text, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("10.1.2.3/0", "255.0.0.0", "::1"),
        ("fd00::/8", "fdff::1", "fe00::1"),
        ("::1", "::1", "::2"),
        ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
    ] {
        let network: Network = text.parse().unwrap();
        assert!(network.contains(address(inside)), "{text}");
        assert!(!network.contains(address(outside)), "{text}");
        assert_eq!(network.to_string().parse(), Ok(network), "{text}");
    }
    for text in [
        "",
        "/8",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10/8",
        "a",
        "10.0.0.0/8/8",
        "fe80::1%eth0",
    ] {
        assert!(text.parse::<Network>().is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn an_ipv4_address_is_judged_alike_in_every_form_of_ipv6(bits: u32, deny: bool) {
        let v4 = Ipv4Addr::from(bits);
        let networks = if deny { networks(&[], &["128.0.0.0/1"]) } else { Networks::default() };
        let plain = networks.judge(v4.into()).is_ok();
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        for prefix in [[0, 0, 0, 0, 0, 0xffff], [0, 0, 0, 0, 0xffff, 0], [0x64, 0xff9b, 0, 0, 0, 0]] {
            let [s0, s1, s2, s3, s4, s5] = prefix;
            let v6 = Ipv6Addr::new(s0, s1, s2, s3, s4, s5, high, low);
            prop_assert_eq!(networks.judge(v6.into()).is_ok(), plain, "{} as {}", v4, v6);
        }
        let v6 = Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1);
        prop_assert_eq!(networks.judge(v6.into()).is_ok(), plain, "{} as {}", v4, v6);
    }

    #[test]
    fn no_text_makes_the_reader_of_networks_stumble(text in "[0-9a-f:./%]{0,40}") {
        drop(text.parse::<Network>());
    }
}
