//! From a request to an answer: who asks, what for, may they, and then the verb.
use std::sync::Arc;

use axum::{Router, body::Body, extract::State};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde_json::Value;

use super::{
    body, discovery,
    negotiate::{Accepted, media_type},
    path::{self, Query, Target},
    respond::{self, Render},
    status::{self, ApiError, Result},
};
use crate::local::api::{
    Inner,
    auth::{
        User, impersonate,
        rbac::{self, Attributes},
    },
    catalogue::{Kind, NAMESPACES},
    core::Core,
    patch,
    verbs::{
        Call, WriteOptions, create,
        delete::{self, DeleteOptions, Deleted},
        list::{self, Selection},
        update::{self, Part},
        watch::{self, WatchOptions},
    },
};

/// The whole API. A [`User`] among the request's extensions is taken as who asks; otherwise a bearer token tells.
pub(in crate::local::api) fn router(inner: Arc<Inner>) -> Router {
    Router::new().fallback(handle).with_state(inner)
}

async fn handle(State(inner): State<Arc<Inner>>, request: Request<Body>) -> Response<Body> {
    let accept = text(request.headers(), header::ACCEPT).map(str::to_owned);
    match serve(&inner, request).await {
        Ok(response) => response,
        Err(error) => {
            let format = Accepted::choose(accept.as_deref())
                .map(|accepted| accepted.format)
                .ok();
            match format {
                Some(super::negotiate::Format::Yaml) => {
                    respond::value(super::negotiate::Format::Yaml, error.code, &error.status())
                }
                _ => respond::refusal(&error),
            }
        }
    }
}

pub(super) fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

async fn serve(inner: &Arc<Inner>, request: Request<Body>) -> Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    if let Some(answer) = discovery::open(&path) {
        return Ok(answer);
    }
    let user = authenticate(&inner.core, &request)?;
    let user = impersonate::apply(&inner.core, user, request.headers())?;
    let Some(target) = path::parse(&path)? else {
        let verb = request.method().as_str().to_lowercase();
        rbac::authorize(&inner.core, &user, &Attributes::path(&verb, &path))?;
        return discovery::serve(&inner.core, &path, &request);
    };
    let query = if target.subresource.as_deref() == Some("proxy") {
        // It belongs to whom the request is passed on to, in whatever form.
        Query::default()
    } else {
        Query::parse(request.uri().query())?
    };
    let kind = inner
        .core
        .catalogue()
        .find(&target.group, &target.version, &target.plural);
    let verb = verb(request.method(), &target, &query)?;
    rbac::authorize(&inner.core, &user, &Attributes::resource(verb, &target))?;
    let kind = kind.ok_or_else(ApiError::unknown_resource)?;
    Exchange {
        core: &inner.core,
        user: &user,
        kind: &kind,
        target: &target,
        query: &query,
        verb,
    }
    .serve(request)
    .await
}

fn authenticate(core: &Core, request: &Request<Body>) -> Result<User> {
    if let Some(user) = request.extensions().get::<User>() {
        return Ok(user.clone());
    }
    let header = text(request.headers(), header::AUTHORIZATION).ok_or_else(ApiError::unauthorized)?;
    let (scheme, token) = header.split_once(' ').ok_or_else(ApiError::unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::unauthorized());
    }
    core.tokens
        .user_of(core, token.trim())
        .ok_or_else(ApiError::unauthorized)
}

fn verb(method: &Method, target: &Target, query: &Query) -> Result<&'static str> {
    let named = target.name.is_some();
    Ok(match *method {
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD if query.flag("watch") => "watch",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => return Err(ApiError::method_not_allowed()),
    })
}

/// One request about a resource.
pub(super) struct Exchange<'a> {
    pub core: &'a Core,
    pub user: &'a User,
    pub kind: &'a Arc<Kind>,
    pub target: &'a Target,
    pub query: &'a Query,
    pub verb: &'static str,
}

impl Exchange<'_> {
    async fn serve(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (target, resource) = (self.target, &self.kind.resource);
        if let Some(namespace) = &target.namespace
            && !resource.namespaced
        {
            tracing::debug!(namespace, "a namespace in the path of a cluster-scoped resource");
            return Err(ApiError::unknown_resource());
        }
        let everywhere = resource.namespaced && target.namespace.is_none();
        match &target.subresource {
            None => {
                let addressed = match self.verb {
                    "create" => target.name.is_none() && !everywhere,
                    "list" | "watch" => true,
                    "deletecollection" => !everywhere,
                    _ => target.name.is_some() && !everywhere,
                };
                if !addressed || !resource.allows(self.verb) {
                    return Err(ApiError::method_not_allowed());
                }
            }
            Some(name) => {
                let subresource = resource
                    .subresource(name)
                    .filter(|_| target.tail.is_empty() || name == "proxy")
                    .ok_or_else(ApiError::unknown_resource)?;
                if !subresource.verbs.iter().any(|verb| verb == self.verb) {
                    return Err(ApiError::method_not_allowed());
                }
            }
        }
        if let Some(answer) = self.special(&request) {
            return answer.serve(self, request).await;
        }
        let accepted = Accepted::choose(text(request.headers(), header::ACCEPT))?;
        let render = Render::new(accepted.shape, self.query)?;
        match self.verb {
            "get" => self.get(accepted, render),
            "list" => self.list(accepted, render),
            "watch" => self.watch(accepted, render),
            _ => self.write(accepted, render, request).await,
        }
    }

    pub(super) fn call(&self, options: WriteOptions) -> Call<'_> {
        Call {
            core: self.core,
            kind: self.kind,
            user: self.user,
            namespace: self.target.namespace.as_deref().unwrap_or(""),
            options,
            warnings: self
                .kind
                .resource
                .deprecation_warning
                .clone()
                .into_iter()
                .collect(),
        }
    }

    pub(super) fn name(&self) -> Result<&str> {
        self.target
            .name
            .as_deref()
            .ok_or_else(ApiError::method_not_allowed)
    }

    fn get(&self, accepted: Accepted, render: Render) -> Result<Response<Body>> {
        let call = self.call(WriteOptions::default());
        let object = crate::local::api::verbs::Answer::Stored(call.stored(self.name()?)?);
        Ok(respond::object(
            accepted,
            render,
            self.kind,
            StatusCode::OK,
            &object,
        ))
    }

    fn list(&self, accepted: Accepted, render: Render) -> Result<Response<Body>> {
        let selection = Selection::parse(self.kind, self.target.namespace.as_deref(), self.query)?;
        let page = list::list(&self.core.store, self.kind, &selection, self.query)?;
        Ok(respond::list(accepted, render, self.kind, &page))
    }

    fn watch(&self, accepted: Accepted, render: Render) -> Result<Response<Body>> {
        if accepted.format != super::negotiate::Format::Json {
            return Err(ApiError::not_acceptable());
        }
        let selection = Selection::parse(self.kind, self.target.namespace.as_deref(), self.query)?;
        let options = WatchOptions::parse(self.query, self.core.store.version())?;
        let events = watch::watch(self.core, self.kind, selection, render, options)?;
        Ok(respond::bytes(
            StatusCode::OK,
            "application/json",
            Body::from_stream(events),
        ))
    }

    async fn write(
        &self,
        accepted: Accepted,
        render: Render,
        request: Request<Body>,
    ) -> Result<Response<Body>> {
        let agent = text(request.headers(), header::USER_AGENT)
            .unwrap_or("")
            .to_owned();
        let content_type = text(request.headers(), header::CONTENT_TYPE).map(str::to_owned);
        let options = WriteOptions::parse(self.query, &agent)?;
        let body = body::read(request).await?;
        let mut call = self.call(options);
        let wanted = &self.kind.resource.kind;
        let parse = || body::parse(content_type.as_deref(), &body, wanted);
        let (code, answer) = match self.verb {
            "create" => (StatusCode::CREATED, create::create(&mut call, parse()?)?),
            "update" => (
                StatusCode::OK,
                update::replace(&mut call, self.name()?, self.part(), parse()?)?,
            ),
            "patch" => {
                let kind = media_type(content_type.as_deref());
                let (created, answer) = patch::patch(&mut call, self.name()?, self.part(), &kind, &body)?;
                (
                    if created {
                        StatusCode::CREATED
                    } else {
                        StatusCode::OK
                    },
                    answer,
                )
            }
            _ => {
                let options = if body.is_empty() { None } else { Some(parse()?) };
                let options = DeleteOptions::parse(options.as_ref(), self.query)?;
                return self.delete(accepted, render, &mut call, &options);
            }
        };
        let mut response = respond::object(accepted, render, self.kind, code, &answer);
        respond::warn(&mut response, &call.warnings);
        Ok(response)
    }

    fn part(&self) -> Part {
        match self.target.subresource.as_deref() {
            Some("status") => Part::Status,
            Some("finalize") => Part::Finalize,
            _ => Part::Main,
        }
    }

    fn delete(
        &self,
        accepted: Accepted,
        render: Render,
        call: &mut Call<'_>,
        options: &DeleteOptions,
    ) -> Result<Response<Body>> {
        if self.verb == "deletecollection" {
            return self.delete_collection(accepted, render, call, options);
        }
        let name = self.name()?;
        let subject = self.kind.subject();
        match delete::delete(call, name, options)? {
            Deleted::Pending(answer) => Ok(respond::object(
                accepted,
                render,
                self.kind,
                StatusCode::OK,
                &answer,
            )),
            // Kinds whose strategy returns the deleted object.
            Deleted::Gone(answer)
                if matches!(&*self.kind.key, crate::local::api::catalogue::PODS | NAMESPACES) =>
            {
                Ok(respond::object(
                    accepted,
                    render,
                    self.kind,
                    StatusCode::OK,
                    &answer,
                ))
            }
            Deleted::Gone(answer) => {
                let value = answer.value(self.kind);
                let uid = crate::local::api::meta::meta_text(&value, "uid");
                Ok(respond::value(
                    accepted.format,
                    StatusCode::OK,
                    &status::deleted(subject, name, uid),
                ))
            }
        }
    }

    fn delete_collection(
        &self,
        accepted: Accepted,
        render: Render,
        call: &mut Call<'_>,
        options: &DeleteOptions,
    ) -> Result<Response<Body>> {
        let selection = Selection::parse(self.kind, self.target.namespace.as_deref(), self.query)?;
        let page = list::list(&self.core.store, self.kind, &selection, self.query)?;
        for object in &page.objects {
            let namespace = object.facts.namespace.clone();
            let mut one = Call {
                namespace: &namespace,
                options: call.options.clone(),
                warnings: Vec::new(),
                ..*call
            };
            match delete::delete(&mut one, &object.facts.name, options) {
                Err(error) if error.code != StatusCode::NOT_FOUND => return Err(error),
                _ => {}
            }
        }
        Ok(respond::list(accepted, render, self.kind, &page))
    }

    fn special(&self, _request: &Request<Body>) -> Option<super::special::Special> {
        super::special::Special::of(self)
    }
}

/// A request's JSON body for a resource that is no stored object.
pub(super) async fn json_body(request: Request<Body>, wanted: &str) -> Result<Value> {
    let content_type = text(request.headers(), header::CONTENT_TYPE).map(str::to_owned);
    let bytes = body::read(request).await?;
    body::parse(content_type.as_deref(), &bytes, wanted)
}
