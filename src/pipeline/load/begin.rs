//! The beginning of a load: examines the target, and finds out whether this load is new, interrupted or already
//! complete.

use super::fold::Folding;
use super::{Load, LoadOptions, LoadTarget, Scope, keeping, reading, writing};
use crate::deployment::schema;
use crate::error::Error;
use crate::fold::collections;
use crate::ledger::{Claim, CollectionIdentity, Ledger, LoadDocument, Options, State, TargetState};
use crate::pipeline::plan::Plan;
use crate::pipeline::rejects::{LeftFile, Resumed};
use crate::pipeline::settle::Account;
use crate::server::{Target, refuse_name_for_data, refuse_view};
use crate::spec::Spec;
use crate::write::{Bulk, Mode, ShardMap};

impl<'a> Load<'a> {
    /// Examines the targets, and checks that the reject files can be written. With `--drop`, reads every source to its
    /// end and then drops the collections. If the spec has several kinds of documents, their collections are in the
    /// database of `target`.
    pub(super) async fn begin(
        plan: &'a Plan,
        target: &'a Target,
        options: &'a LoadOptions,
        scope: Scope,
    ) -> Result<Self, Error> {
        if options.mode == Mode::Merge && plan.spec.is_divided() {
            let problem = "--mode merge would mix two versions of a FHIR resource; leave it out: the version that was changed last \
                 is stored";
            return Err(Error::Usage(problem.into()));
        }
        let mut targets: Vec<LoadTarget<'a>> =
            plan.targets(target).map(|(spec, target)| LoadTarget::new(spec, target, options)).collect();
        let mut notes = Vec::new();
        for lane in &mut targets {
            lane.refuse_unfit().await?;
            notes.extend(lane.find_shards(options.drop).await?);
        }
        let folding = if scope.is_part() { Folding::None } else { Folding::plan(plan, &targets, options).await? };
        let account = if options.lists_rejects {
            Account::listing(plan)
        } else {
            Account::open(plan, options.rejects.as_deref())?
        };
        let mut sources = scope.sources(plan)?;
        if options.drop {
            for lane in &targets {
                lane.refuse_forbidden_drop().await?;
            }
            // Dropped documents cannot be restored. So first make sure that every source can be read to its end.
            sources = plan.identities_of_readable()?;
            for lane in &targets {
                lane.refuse_busy().await?;
            }
            for lane in &targets {
                notes.extend(lane.begin_anew().await?);
            }
        }
        let mut states = Vec::new();
        for lane in &mut targets {
            states.push(lane.examine().await?);
        }
        scope.adapt(&mut states);
        // If all collections are empty, no earlier load can be resumed or verified. The sources are then hashed
        // later, while the first blocks are encoded.
        if sources.is_empty() && states.iter().any(|state| !state.first_load) {
            sources = plan.identities()?;
        }
        let further = targets[1..].iter().map(|lane| lane.target.collection.clone()).collect();
        let ledger = targets[0].ledger.clone().with_further(further);
        let ledger = if scope.is_part() { ledger.of_parts() } else { ledger };
        let mut document = LoadDocument::new(states, &plan.spec, sources, wanted_options(plan, options));
        scope.mark(&mut document);
        let (continued_after, claim, rows_read, parts) = (None, None, 0, Vec::new());
        Ok(Self {
            plan,
            options,
            scope,
            ledger,
            targets,
            document,
            parts,
            continued_after,
            claim,
            account,
            rows_read,
            folding,
            notes,
        })
    }

    /// Takes the lease and looks in the ledger for an earlier load with the same key (collection, sources, spec and
    /// options). Returns true if that load is complete and only has to be verified. For a part, returns true if that
    /// part is complete. In all other cases, returns false: documents have to be written. For example, `--reload` and
    /// `--no-verify` write a complete load again. If the earlier load was interrupted and can be resumed, prepares to
    /// resume it.
    ///
    /// If the sources are not hashed yet, does nothing and returns false. Reason: all collections were then empty, so
    /// no earlier load can be resumed or verified.
    pub(super) async fn is_known(&mut self) -> Result<bool, Error> {
        if self.document.sources.is_empty() {
            return Ok(false);
        }
        self.claim().await?;
        if self.plan.is_read_once() || self.document.targets().iter().all(|state| state.first_load) {
            return Ok(false);
        }
        let Some(prior) = self.ledger.find(&self.document.key).await.map_err(reading)? else { return Ok(false) };
        if let Some(why) = self.is_invalid(&prior).await? {
            self.notes.push(format!(
                "load {} of these sources is ignored, because {why}; everything is written again",
                prior.id
            ));
            return Ok(false);
        }
        if prior.state == State::Complete {
            let verifies = self.options.verify && self.options.mode == Mode::Insert;
            let is_done = !self.options.reload && (verifies || self.scope.is_part());
            if is_done {
                self.document = LoadDocument { fence: self.document.fence, ..prior };
            }
            return Ok(is_done);
        }
        if self.options.reload || prior.version != self.document.version {
            let why = if self.options.reload { "--reload was given" } else { "it was begun by another version" };
            self.notes.push(format!("load {} is not resumed, because {why}; everything is written again", prior.id));
            return Ok(false);
        }
        match self.account.resume(&prior)? {
            Resumed::Yes => {
                self.continued_after = Some(prior.rows_read());
                self.document = LoadDocument { state: State::Running, fence: self.document.fence, ..prior };
            }
            Resumed::Gone(name) => {
                self.notes.push(format!(
                    "load {} cannot be resumed, because its reject file {name} is missing or empty, or --rejects names \
                     another place; everything is written again",
                    prior.id
                ));
            }
        }
        Ok(false)
    }

    /// Checks whether the documents of the earlier load `prior` can still be in the collections. If some are certainly
    /// missing, returns the reason.
    pub(super) async fn is_invalid(&self, prior: &LoadDocument) -> Result<Option<&'static str>, Error> {
        for (lane, state) in self.targets.iter().zip(prior.targets()) {
            if let (Some(then), Some(now)) = (state.collection_uuid, lane.uuid)
                && then != now
            {
                return Ok(Some("the collection was dropped and created again after that load"));
            }
            // If the load is divided into parts and was not verified, two parts may both count the same record as
            // present. So these counts are not used for such a load.
            let present = if prior.manifest.is_some() { 0 } else { state.counts.already_present };
            let brought = state.counts.written + present;
            if !lane.bulk.holds_at_least(brought).await.map_err(writing)? {
                return Ok(Some("the collection has fewer documents than that load wrote or found"));
            }
        }
        Ok(None)
    }

    /// Takes the lease of the load. Checks that the `_id`s of each collection are made from the same fields and with
    /// the same key as the `_id`s of this load.
    pub(super) async fn claim(&mut self) -> Result<(), Error> {
        let claim = Claim::take(&self.ledger, &self.document.key).await.map_err(keeping)?;
        let claim = claim.map_err(|held| Error::Held(Box::new(held)))?;
        self.document.fence = claim.fence();
        let mut states = self.document.targets();
        for (lane, state) in self.targets.iter_mut().zip(&mut states) {
            lane.bulk = lane.bulk.clone().guarded_by(claim.guard());
            // The collection was examined before this process had the lease. Another load may have written to it since
            // then.
            if state.first_load && !lane.bulk.is_empty().await.map_err(writing)? {
                if !self.plan.is_read_once() {
                    self.claim = Some(claim);
                    return Err(Error::NoLongerEmpty);
                }
                state.first_load = false;
            }
        }
        self.claim = Some(claim);
        self.document.set_targets(states);
        self.agree_on_identities().await
    }

    async fn agree_on_identities(&self) -> Result<(), Error> {
        for (lane, state) in self.targets.iter().zip(self.document.targets()) {
            let wanted = CollectionIdentity::of(lane.spec, &self.plan.key);
            let settled = lane.ledger.settle_identity(&wanted, state.first_load, &self.document.key).await;
            Error::if_identities_differ(&lane.target, &settled.map_err(keeping)?, &wanted)?;
        }
        Ok(())
    }

    /// Hashes the sources and takes the lease, if that was not done yet. Then writes the load's document to the
    /// ledger. The load may write documents only after that.
    pub(super) async fn register(&mut self) -> Result<(), Error> {
        if self.document.sources.is_empty() {
            self.document.sources = self.plan.identities()?;
            self.document.key = self.document.present_key();
            self.claim().await?;
        }
        // The key of a load that can be read only once is random, so no other load has it.
        let is_unique = self.plan.is_read_once();
        let left =
            if is_unique { Vec::new() } else { self.ledger.reject_files(&self.document.key).await.map_err(reading)? };
        let left = left.into_iter().map(|(load, state)| LeftFile { load: load.to_string(), state }).collect();
        self.account.rejects.register(&self.document, left)?;
        if !is_unique {
            self.ledger.supersede(&self.document.key, self.document.id, self.document.fence).await.map_err(keeping)?;
        }
        if let Some(claim) = &self.claim {
            claim.guard().confirm().await.map_err(keeping)?;
        }
        self.ledger.put(&mut self.document).await.map_err(keeping)?;
        Ok(())
    }
}

impl<'a> LoadTarget<'a> {
    fn new(spec: &'a Spec, target: Target, options: &LoadOptions) -> Self {
        let ledger = Ledger::new(&target.db(), &target.collection, options.lease);
        let wtimeout = target.db().write_concern().and_then(|concern| concern.w_timeout);
        let bulk = Bulk::new(target.db(), &target.collection, wtimeout.map(|time| time.as_millis() as i64));
        Self { spec, target, ledger, bulk, shards: ShardMap::default(), uuid: None }
    }

    /// Fails if the collection cannot be the target of a load. Reasons: it is a collection of the ledger, it is a view,
    /// its validator warns instead of refusing documents, or the server does not accept the spec's validator.
    async fn refuse_unfit(&self) -> Result<(), Error> {
        let collection = &self.target.collection;
        refuse_name_for_data("the spec or the manifest", &self.target.database, collection)?;
        refuse_view(&self.target).await?;
        self.refuse_state().await?;
        schema::refuse_warning(&self.target, self.spec).await?;
        schema::try_spec(&self.target, self.spec).await?;
        Ok(())
    }

    /// Fails if the collection has the documents of a fold.
    async fn refuse_state(&self) -> Result<(), Error> {
        let collection = self.target.collection.as_str();
        if collections().contains(&collection) && self.ledger.fold_record().await.map_err(reading)?.is_some() {
            return Err(Error::Usage(format!(
                "{} has the patients, visits or results that `medlift fold` writes; load into another collection or \
                 database",
                self.target.full_name()
            )));
        }
        Ok(())
    }

    /// Fails if another load writes to the collection.
    async fn refuse_busy(&self) -> Result<(), Error> {
        match self.ledger.other_load(|_| false).await.map_err(reading)? {
            Some(held) => Err(Error::Busy(Box::new(held))),
            None => Ok(()),
        }
    }

    /// Examines the collection. Returns the state that the ledger stores for it at the beginning of the load.
    async fn examine(&mut self) -> Result<TargetState, Error> {
        let first_load = self.bulk.is_empty().await.map_err(writing)?;
        if first_load {
            schema::refuse_index_clash(&self.target, self.spec).await?;
        }
        self.uuid = schema::uuid(&self.target).await?;
        Ok(TargetState { first_load, collection_uuid: self.uuid, ..TargetState::new(&self.target.collection) })
    }
}

fn wanted_options(plan: &Plan, options: &LoadOptions) -> Options {
    let mode = match options.mode {
        Mode::Insert => "insert",
        Mode::Upsert => "upsert",
        Mode::Merge => "merge",
    };
    let (identity_key, reading) = (plan.key.fingerprint(), plan.reading.clone());
    Options { mode: mode.into(), identity_key, lineage: options.lineage, reading }
}
