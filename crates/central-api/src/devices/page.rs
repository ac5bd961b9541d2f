//! Pages of devices. The store looks by template and organization, over indexes; everything else is decided here.

use axum::response::Response;
use gantry_central::State;
use gantry_central::access::permissions::Permission;
use gantry_central::devices::{Device, TAG};
use gantry_central::groups::{DeviceFilter, DeviceGroup};
use gantry_central::ids::OrganizationId;
use gantry_central::language::Literal;
use gantry_central::language::compare::Comparison;
use gantry_central::lists::{DEVICE_FIELDS, Filter, Operand, OrderBy};
use gantry_hub::ports::{Constraint, Record, Search, Step, Test};
use gantry_identity::{DeviceId, Identity};
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

/// A page of the devices that the caller sees, of a group or of all.
pub(crate) async fn page(call: &Call, group: Option<Group<'_>>) -> Result<Response, Failure> {
    let asked = Asked::read(call, DEVICE_FIELDS)?;
    let sees = |of: Option<&OrganizationId>| call.sees(Permission::DevicesView, of);
    let (application, filter) = (call.application(), asked.filter.as_ref());
    let looking = Looking { application, state: &call.who.state, sees: &sees, filter, group };
    let (shown, next) = match (&asked.order, &asked.from) {
        (Some(order), From::At(at)) => looking.sorted(order, *at, asked.size).await?,
        (_, From::After(after)) => looking.by_id(after.as_deref(), asked.size).await?,
        (None, From::At(_)) => return Err(Failure::internal(&"a list by id that begins at a number")),
    };
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
        let found = looking.find(after).await?;
        for record in &found {
            if looking.shown(record).await?.is_some() {
                all.push(record.device.identity.device.clone());
            }
        }
        if found.len() < LOOKED_AT_ONCE {
            return Ok(all);
        }
        after = found.last().map(|record| record.device.identity.clone());
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
    async fn by_id(&self, after: Option<&str>, size: usize) -> Result<(Vec<Value>, Option<String>), Failure> {
        let parse = |id: &str| DeviceId::parse(id).map_err(|_| Failure::invalid("$skiptoken is none of this list"));
        let mut after = after.map(parse).transpose()?.map(Identity::device);
        let (mut shown, mut last) = (vec![], None);
        loop {
            let found = self.find(after.clone()).await?;
            let is_end = found.len() < LOOKED_AT_ONCE;
            for record in &found {
                let Some(document) = self.shown(record).await? else { continue };
                if shown.len() == size {
                    return Ok((shown, last));
                }
                shown.push(document);
                last = Some(record.device.identity.device.to_string());
            }
            if is_end {
                return Ok((shown, None));
            }
            after = found.last().map(|record| record.device.identity.clone());
        }
    }

    async fn sorted(&self, order: &OrderBy, at: usize, size: usize) -> Result<(Vec<Value>, Option<String>), Failure> {
        let (mut all, mut after) = (vec![], None);
        loop {
            let found = self.find(after).await?;
            for record in &found {
                all.extend(self.shown(record).await?);
            }
            if all.len() > SORTED_MAX {
                return Err(Failure::invalid(format!("a list of more than {SORTED_MAX} devices has no other order")));
            }
            if found.len() < LOOKED_AT_ONCE {
                break;
            }
            after = found.last().map(|record| record.device.identity.clone());
        }
        let field = |shown: &Value, name: &str| match name {
            "organizations" | "scopes" => shown.pointer("/organizations/0").cloned().unwrap_or_default(),
            name => shown.get(name).cloned().unwrap_or_default(),
        };
        all.sort_by(|one, other| order.compare(|name| field(one, name), |name| field(other, name)));
        let next = (all.len() > at + size).then(|| (at + size).to_string());
        Ok((all.into_iter().skip(at).take(size).collect(), next))
    }

    async fn find(&self, after: Option<Identity>) -> Result<Vec<Record>, Failure> {
        let search = Search { modules: false, constraints: self.constraints() };
        Ok(self.application.api.hub.find_devices(search, after, LOOKED_AT_ONCE).await?)
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

    /// What is shown of a device, if it is on the page.
    async fn shown(&self, record: &Record) -> Result<Option<Value>, Failure> {
        let id = &record.device.identity.device;
        let mut device = Device::of(record, &self.state.templates, false);
        if !(self.sees)(device.profile.organization.as_ref()) || !self.may_be(&device) {
            return Ok(None);
        }
        device.is_provisioned = device.is_provisioned || devices::is_registered(self.application, id).await?;
        let is_listed = self.filter.is_none_or(|filter| filter.holds(|name| device.field(name)));
        let is_member = self.group.is_none_or(|(filter, _)| {
            let properties = device.properties();
            filter.holds(&device.facts(&properties))
        });
        Ok((is_listed && is_member).then(|| device.document()))
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
