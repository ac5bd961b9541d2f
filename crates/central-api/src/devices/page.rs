//! Pages of devices. The store looks by template and organization, over indexes; everything else is decided here.

use std::collections::HashSet;
use std::sync::Arc;

use axum::response::Response;
use gantry_central::State;
use gantry_central::access::permissions::Permission;
use gantry_central::devices::{Device, Profile, TAG};
use gantry_central::groups::{DeviceFilter, DeviceGroup};
use gantry_central::ids::OrganizationId;
use gantry_central::language::Literal;
use gantry_central::language::compare::Comparison;
use gantry_central::lists::{DEVICE_FIELDS, Filter, Operand, OrderBy};
use gantry_hub::HubError;
use gantry_hub::ports::{Attribute, Constraint, Filter as AttributeFilter, Glance, Part, Record, Search, Step, Test};
use gantry_identity::{DeviceId, Identity};
use parking_lot::Mutex;
use serde_json::Value;

use crate::call::Call;
use crate::list::{Asked, From, page_of};
use crate::{Application, Failure, devices};

/// Records asked of the store at once.
const LOOKED_AT_ONCE: usize = 500;
/// Devices that a list in an order of its own may have: all must be looked at for each page.
const SORTED_MAX: usize = 250_000;

/// A group's filter, and the organization it belongs to.
type Group<'g> = (&'g DeviceFilter, Option<&'g OrganizationId>);

/// Fields that are read of a device without the rest of it.
const QUICK: [&str; 6] = ["id", "displayName", "enabled", "simulated", "organizations", "scopes"];

/// A page of the devices that the caller sees, of a group or of all.
pub(crate) async fn page(call: &Call, group: Option<Group<'_>>) -> Result<Response, Failure> {
    let asked = Asked::read(call, DEVICE_FIELDS)?;
    let sees = |of: Option<&OrganizationId>| call.sees(Permission::DevicesView, of);
    let (application, filter) = (call.application(), asked.filter.as_ref());
    let looking = Looking { application, state: &call.who.state, sees: &sees, filter, group };
    let (records, next) = match (&asked.order, &asked.from) {
        (Some(order), From::At(at)) => looking.sorted(order, *at, asked.size).await?,
        (_, From::After(after)) => looking.by_id(after.as_deref(), asked.size).await?,
        (None, From::At(_)) => return Err(Failure::internal(&"a list by id that begins at a number")),
    };
    let mut shown = Vec::with_capacity(records.len());
    for record in &records {
        shown.push(devices::show(call, record).await?);
    }
    Ok(page_of(call, shown, next))
}

/// The devices of a group that are seen, in order of id.
pub(crate) async fn members(
    application: &Application,
    group: &DeviceGroup,
    sees: &Sees<'_>,
) -> Result<Vec<DeviceId>, Failure> {
    let state = application.central.state();
    let group = Some((&group.filter, group.organization.as_ref()));
    let looking = Looking { application, state: &state, sees, filter: None, group };
    let (mut all, mut after) = (vec![], None);
    loop {
        let (found, next) = looking.some(after, LOOKED_AT_ONCE).await?;
        all.extend(found.into_iter().map(|record| record.device.identity.device));
        after = next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// Whether what is in an organization is seen.
pub(crate) type Sees<'a> = dyn Fn(Option<&OrganizationId>) -> bool + Sync + 'a;

struct Looking<'a> {
    application: &'a Application,
    state: &'a State,
    sees: &'a Sees<'a>,
    filter: Option<&'a Filter>,
    group: Option<Group<'a>>,
}

impl Looking<'_> {
    async fn by_id(&self, after: Option<&str>, size: usize) -> Result<(Vec<Record>, Option<String>), Failure> {
        let parse = |id: &str| DeviceId::parse(id).map_err(|_| Failure::invalid("$skiptoken is none of this list"));
        let mut after = after.map(parse).transpose()?.map(Identity::device);
        let mut page: Vec<Record> = vec![];
        // One more than are shown says that there are more.
        loop {
            let (found, next) = self.some(after, size + 1 - page.len()).await?;
            page.extend(found);
            after = next;
            if page.len() > size || after.is_none() {
                break;
            }
        }
        let has_more = page.len() > size;
        page.truncate(size);
        let next = page.last().filter(|_| has_more).map(|record| record.device.identity.device.to_string());
        Ok((page, next))
    }

    /// Some devices that are on the list, about `wanted` of them, and after which more may follow.
    async fn some(&self, after: Option<Identity>, wanted: usize) -> Result<(Vec<Record>, Option<Identity>), Failure> {
        let search = Search { modules: false, constraints: self.constraints() };
        let hub = &self.application.api.hub;
        let quick = self.filter.filter(|filter| filter.is_within(&QUICK));
        if let Some(filter) = quick {
            let filter = filter.clone();
            let accepts = move |glance: &Glance<'_>| filter.holds(|name| glanced(glance, name));
            let accepts = AttributeFilter::new(vec![kept()], accepts);
            let (found, next) = hub.find_devices_where(search, accepts, after, wanted.max(1)).await?;
            return Ok((self.listed(found).await?, next));
        }
        let is_plain = self.filter.is_none() && self.group.is_none();
        let limit = if is_plain { wanted.max(1) } else { LOOKED_AT_ONCE };
        let found = hub.find_devices(search, after, limit).await?;
        let next = found.last().filter(|_| found.len() >= limit).map(|record| record.device.identity.clone());
        let mut listed = self.listed(found).await?;
        // What is beyond is looked at again: the next begins behind the last that is given.
        let is_cut = listed.len() > wanted;
        listed.truncate(wanted);
        let next = if is_cut { listed.last().map(|record| record.device.identity.clone()) } else { next };
        Ok((listed, next))
    }

    async fn sorted(&self, order: &OrderBy, at: usize, size: usize) -> Result<(Vec<Record>, Option<String>), Failure> {
        let is_quick = order.keys().all(|(name, _)| QUICK.contains(&name))
            && self.group.is_none()
            && self.filter.is_none_or(|filter| filter.is_within(&QUICK));
        let mut all = if is_quick { self.glances(order).await? } else { self.looks(order).await? };
        if all.len() > SORTED_MAX {
            return Err(Failure::invalid(format!("a list of more than {SORTED_MAX} devices has no other order")));
        }
        all.sort_by(|(one, first), (other, second)| order.compare(one, other).then_with(|| first.cmp(second)));
        let next = (all.len() > at.saturating_add(size)).then(|| (at + size).to_string());
        let mut page = vec![];
        for (_, id) in all.into_iter().skip(at).take(size) {
            match self.application.api.hub.record(&Identity::device(id)).await {
                Ok(record) => page.push(record),
                // Deleted meanwhile.
                Err(HubError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((page, next))
    }

    /// What every device of the list is sorted by, read without the rest of it.
    async fn glances(&self, order: &OrderBy) -> Result<Vec<(Sorted, DeviceId)>, Failure> {
        let order = order.clone();
        let filter = self.filter.cloned();
        // Whoever is seen is decided by organization, of which there are few.
        let seen: HashSet<Option<OrganizationId>> = std::iter::once(None)
            .chain(self.state.organizations.keys().cloned().map(Some))
            .filter(|of| (self.sees)(of.as_ref()))
            .collect();
        let sees_all = seen.contains(&None);
        let found = Arc::new(Mutex::new(vec![]));
        let taken = Arc::clone(&found);
        let take = move |glance: &Glance<'_>| {
            let of =
                || Profile::read(glance.values.first().and_then(Option::as_deref).unwrap_or(&Value::Null)).organization;
            let is_seen = sees_all || seen.contains(&of());
            if is_seen && filter.as_ref().is_none_or(|filter| filter.holds(|name| glanced(glance, name))) {
                let sorted = order.values(|name| glanced(glance, name));
                taken.lock().push((sorted, glance.device_id.to_owned()));
            }
            false
        };
        let take = AttributeFilter::new(vec![kept()], take);
        let mut after = None;
        loop {
            let search = Search { modules: false, constraints: self.constraints() };
            let hub = &self.application.api.hub;
            let (_, next) = hub.find_devices_where(search, take.clone(), after, LOOKED_AT_ONCE).await?;
            after = next;
            if after.is_none() || found.lock().len() > SORTED_MAX {
                break;
            }
        }
        let found = std::mem::take(&mut *found.lock());
        Ok(found.into_iter().filter_map(|(sorted, id)| Some((sorted, DeviceId::parse(&id).ok()?))).collect())
    }

    /// The same of devices that are read whole.
    async fn looks(&self, order: &OrderBy) -> Result<Vec<(Sorted, DeviceId)>, Failure> {
        let (mut all, mut after) = (vec![], None);
        loop {
            let (found, next) = self.some(after, LOOKED_AT_ONCE).await?;
            for record in &found {
                let device = self.device(record).await?;
                let sorted = order.values(|name| device.field(name));
                all.push((sorted, record.device.identity.device.clone()));
            }
            after = next;
            if after.is_none() || all.len() > SORTED_MAX {
                return Ok(all);
            }
        }
    }

    /// What every device of the page satisfies.
    fn constraints(&self) -> Vec<Constraint> {
        let of_list = self.filter.and_then(|filter| {
            filter.condition().required().into_iter().find_map(|test| {
                match (&test.operand, &test.comparison, &test.literal) {
                    (Operand::Field(name), Comparison::Equal, Literal::Text(id)) if name == "template" => {
                        Some(id.as_str())
                    }
                    _ => None,
                }
            })
        });
        let of_group = self.group.and_then(|(filter, _)| filter.template());
        let equal = |name: &str, value: &str| {
            let path = ["tags", TAG, name].map(|name| Step::Name(name.to_owned())).to_vec();
            Constraint { path, test: Test::OneOf(vec![value.into()]) }
        };
        of_list.or(of_group).map(|id| equal("template", id)).into_iter().collect()
    }

    /// Those that are on the list.
    async fn listed(&self, found: Vec<Record>) -> Result<Vec<Record>, Failure> {
        let mut listed = vec![];
        for record in found {
            if self.is_listed(&record).await? {
                listed.push(record);
            }
        }
        Ok(listed)
    }

    /// A device, with whether it registered when somebody looks at that.
    async fn device<'r>(&self, record: &'r Record) -> Result<Device<'r>, Failure> {
        let mut device = Device::of(record, &self.state.templates, false);
        let is_registered = devices::is_registered(self.application, &record.device.identity.device);
        device.is_provisioned = device.is_provisioned || is_registered.await?;
        Ok(device)
    }

    async fn is_listed(&self, record: &Record) -> Result<bool, Failure> {
        let mut device = Device::of(record, &self.state.templates, false);
        if !(self.sees)(device.profile.organization.as_ref()) || !self.may_be(&device) {
            return Ok(false);
        }
        let without = DEVICE_FIELDS.iter().copied().filter(|name| *name != "provisioned").collect::<Vec<_>>();
        let looks = self.filter.is_some_and(|filter| !filter.is_within(&without))
            || self.group.is_some_and(|(filter, _)| filter.looks_at_provisioned());
        if looks {
            device = self.device(record).await?;
        }
        let is_listed = self.filter.is_none_or(|filter| filter.holds(|name| device.field(name)));
        let is_member = self.group.is_none_or(|(filter, _)| {
            let properties = device.properties();
            filter.holds(&device.facts(&properties))
        });
        Ok(is_listed && is_member)
    }

    /// Whether a device can be in the group at all, before anything more is read of it.
    fn may_be(&self, device: &Device<'_>) -> bool {
        let Some((filter, organization)) = self.group else { return true };
        let organizations = &self.state.organizations;
        let is_there = organization.is_none_or(|id| {
            let of = device.profile.organization.as_ref();
            gantry_central::organizations::Ancestry::of(organizations, of).is_seen(Some(id))
        });
        is_there && filter.template().is_none_or(|id| device.template.as_ref().is_some_and(|of| of.as_str() == id))
    }
}

/// What a device is sorted by.
type Sorted = Vec<Value>;

/// The attribute in which the application keeps what it knows.
fn kept() -> Attribute {
    Attribute { part: Part::Tags, name: TAG.to_owned() }
}

/// One of [`QUICK`].
fn glanced(glance: &Glance<'_>, name: &str) -> Value {
    match name {
        "id" => return glance.device_id.into(),
        "enabled" => return glance.is_enabled.into(),
        _ => {}
    }
    let profile = glance.values.first().and_then(Option::as_deref).map(Profile::read).unwrap_or_default();
    match name {
        "displayName" => profile.display_name.as_ref().map_or(glance.device_id, |name| name.as_str()).into(),
        "simulated" => profile.is_simulated.into(),
        _ => profile.organization.as_ref().map(OrganizationId::as_str).into(),
    }
}
