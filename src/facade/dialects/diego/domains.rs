//! Domains: names that somebody keeps fresh to say that they know all tasks of that name. They have no effect on tasks.
//!
//! Those of a namespace are kept in one ConfigMap, whose resource version decides where several write at once.

use std::collections::BTreeMap;

use axum::extract::State;
use k8s_openapi::{api::core::v1::ConfigMap, jiff::Timestamp};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    failure::{Failure, invalid},
    find,
    messages::{DomainsResponse, UpsertDomainRequest},
    validate,
    wire::{Answer, Done, Sent},
};
use crate::facade::{
    access::{Resource, Verb},
    edits::pause,
    extract::Asker,
    refusal::Refusal,
    state::Facade,
    views::Key,
};

/// The ConfigMap.
const NAME: &str = "errand-diego-domains";
/// Its key: a JSON object of domains, each with the Unix second at which it ends; 0 is never.
const DATA: &str = "domains";
/// Most domains of a namespace. A real server has a handful.
const MOST: usize = 1000;
/// How often a change is tried that others come before.
const TRIES: u16 = 64;

type Domains = BTreeMap<String, i64>;

/// `domains/list`
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
) -> Result<Answer<DomainsResponse>, Failure> {
    let home = find::home(&facade, &caller).await?;
    facade
        .authorize(&caller, Verb::List, Resource::Tasks, &home, None)
        .await?;
    let map: Option<ConfigMap> = facade.objects.get(&Key::new(home, NAME)).await?;
    let now = Timestamp::now().as_second();
    let fresh = fresh(map.as_ref().map(read).unwrap_or_default(), now);
    Ok(Answer(DomainsResponse {
        error: None,
        domains: fresh.into_keys().collect(),
    }))
}

/// `domains/upsert`
pub async fn upsert(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<UpsertDomainRequest>,
) -> Result<Done, Failure> {
    validate::upsert(&request)?;
    let home = find::home(&facade, &caller).await?;
    facade
        .authorize(&caller, Verb::Create, Resource::Tasks, &home, None)
        .await?;
    let key = Key::new(home, NAME);
    for turn in 0..TRIES {
        let map: Option<ConfigMap> = facade.objects.get(&key).await?;
        let now = Timestamp::now().as_second();
        let known = map.as_ref().map(read).unwrap_or_default();
        let domains = upserted(known, &request, now)?;
        let written = match &map {
            None => facade.objects.create(&made(&key, &domains)).await.map(drop),
            Some(map) => {
                let patch = patch(map, &domains);
                facade.objects.merge::<ConfigMap>(&key, patch).await.map(drop)
            }
        };
        match written {
            // Somebody else made or changed it.
            Err(Refusal::Conflict(_)) => tokio::time::sleep(pause(turn)).await,
            // Somebody deleted it. Where there was none, it is the namespace that is not there.
            Err(Refusal::NotFound(_)) if map.is_some() => {}
            Err(Refusal::NotFound(what)) => return Err(invalid(what)),
            written => return written.map(|()| Done).map_err(Failure::from),
        }
    }
    Err(Refusal::Unavailable("too many change the domains at once".into()).into())
}

/// What the ConfigMap holds; nothing where somebody else has written there.
fn read(map: &ConfigMap) -> Domains {
    let text = map.data.as_ref().and_then(|data| data.get(DATA));
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn fresh(mut domains: Domains, now: i64) -> Domains {
    domains.retain(|_, end| *end == 0 || *end > now);
    domains
}

/// With this domain fresh, and without those that are not.
fn upserted(known: Domains, request: &UpsertDomainRequest, now: i64) -> Result<Domains, Failure> {
    let mut domains = fresh(known, now);
    let end = match request.ttl {
        0 => 0,
        ttl => now.saturating_add(i64::from(ttl)),
    };
    domains.insert(request.domain.clone(), end);
    match domains.len() <= MOST {
        true => Ok(domains),
        false => Err(invalid(format!("there are {MOST} domains already"))),
    }
}

fn text(domains: &Domains) -> String {
    // Strings and numbers: serialization cannot fail.
    serde_json::to_string(domains).unwrap_or_default()
}

fn made(key: &Key, domains: &Domains) -> ConfigMap {
    let mut map = ConfigMap {
        data: Some(BTreeMap::from([(DATA.to_owned(), text(domains))])),
        ..ConfigMap::default()
    };
    map.metadata.name = Some(key.name.clone());
    map.metadata.namespace = Some(key.namespace.clone());
    map
}

/// Holds only for the ConfigMap as it was read.
fn patch(map: &ConfigMap, domains: &Domains) -> Value {
    json!({
        "metadata": {"uid": map.uid(), "resourceVersion": map.resource_version()},
        "data": {DATA: text(domains)},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(domain: &str, ttl: u32) -> UpsertDomainRequest {
        UpsertDomainRequest {
            domain: domain.into(),
            ttl,
        }
    }

    #[test]
    fn a_domain_is_fresh_for_its_seconds_or_for_ever() {
        let domains = upserted(Domains::new(), &request("a", 10), 100).unwrap();
        let domains = upserted(domains, &request("ever", 0), 100).unwrap();
        let names = |now| fresh(domains.clone(), now).into_keys().collect::<Vec<_>>();
        assert_eq!(
            (names(109), names(110)),
            (vec!["a".into(), "ever".into()], vec!["ever".to_owned()])
        );
        let shorter = upserted(domains, &request("a", 1), 100).unwrap();
        assert_eq!(shorter["a"], 101);
    }

    #[test]
    fn old_domains_make_room_for_new_ones_and_there_is_an_end_to_them() {
        let full: Domains = (0..MOST).map(|number| (format!("d{number}"), 50)).collect();
        assert_eq!(upserted(full.clone(), &request("new", 1), 100).unwrap().len(), 1);
        assert!(upserted(full.clone(), &request("new", 1), 10).is_err());
        assert!(upserted(full, &request("d0", 1), 10).is_ok());
    }

    #[test]
    fn a_map_that_somebody_else_wrote_holds_no_domains() {
        let mut map = made(&Key::new("n", NAME), &Domains::from([("a".into(), 0)]));
        assert_eq!(read(&map).len(), 1);
        map.data = Some(BTreeMap::from([(DATA.to_owned(), "[]".to_owned())]));
        assert_eq!(read(&map), Domains::new());
    }
}
