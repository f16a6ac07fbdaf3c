//! The beginning of a load: examines the target, and determines whether the load is new, interrupted before, or
//! complete.

use super::{Load, LoadOptions, keeping, reading, writing};
use crate::deployment::schema;
use crate::error::Error;
use crate::ledger::{Claim, CollectionIdentity, LEDGER_COLLECTION, Ledger, LoadRun, Options, State};
use crate::pipeline::plan::Plan;
use crate::pipeline::rejects::{LeftFile, Resumed};
use crate::pipeline::settle::Account;
use crate::server::{Target, leases_of};
use crate::write::{Bulk, Mode};

impl<'a> Load<'a> {
    /// Examines the target and the reject files. With `--drop`, reads every source to its end and then drops the
    /// collection.
    pub(super) async fn begin(plan: &'a Plan, target: &'a Target, options: &'a LoadOptions) -> Result<Self, Error> {
        if [LEDGER_COLLECTION.to_owned(), leases_of(LEDGER_COLLECTION)].contains(&target.collection) {
            let problem = format!("`{}` is where loads are recorded; give another --collection", target.collection);
            return Err(Error::Usage(problem));
        }
        schema::refuse_warning(target).await?;
        schema::try_spec(target, &plan.spec).await?;
        let ledger = Ledger::new(&target.db(), &target.collection, options.lease);
        let wtimeout = target.db().write_concern().and_then(|concern| concern.w_timeout);
        let bulk = Bulk::new(target.db(), &target.collection, wtimeout.map(|time| time.as_millis() as i64));
        let account = Account::open(plan, options.rejects.as_deref())?;
        let mut sources = Vec::new();
        if options.drop {
            // Dropped documents cannot be restored, so every source is first read to its end.
            sources = plan.identities_of_readable()?;
            if let Some(held) = ledger.other_load("").await.map_err(reading)? {
                return Err(Error::Busy(Box::new(held)));
            }
            bulk.drop_collection().await.map_err(writing)?;
            ledger.mark_dropped().await.map_err(keeping)?;
        }
        let is_empty = bulk.is_empty().await.map_err(writing)?;
        if is_empty {
            schema::refuse_index_clash(target, &plan.spec).await?;
        }
        // For an empty collection no earlier load matters. Its sources are hashed later, in parallel with the first
        // blocks.
        if !is_empty && sources.is_empty() {
            sources = plan.identities()?;
        }
        let uuid = schema::uuid(target).await?;
        let run = LoadRun {
            first_load: is_empty,
            collection_uuid: uuid,
            ..LoadRun::new(&target.collection, &plan.spec, sources, wanted_options(plan, options))
        };
        let (claim, notes) = (None, Vec::new());
        Ok(Self { plan, target, options, ledger, bulk, uuid, run, is_resumed: false, claim, account, notes })
    }

    /// Takes the lease and looks for an earlier load of the same sources, if their hashes are known already. Returns
    /// true if there is nothing to write.
    pub(super) async fn is_known(&mut self) -> Result<bool, Error> {
        if self.run.sources.is_empty() {
            return Ok(false);
        }
        self.claim().await?;
        if self.run.first_load {
            return Ok(false);
        }
        let Some(prior) = self.ledger.find(&self.run.key).await.map_err(reading)? else { return Ok(false) };
        if let Some(why) = self.is_invalid(&prior).await? {
            self.notes.push(format!(
                "load {} of these sources no longer counts because {why}; everything is written again",
                prior.id
            ));
            return Ok(false);
        }
        if prior.state == State::Complete {
            let is_done = !self.options.reload && self.options.verify && self.options.mode == Mode::Insert;
            if is_done {
                self.run = LoadRun { fence: self.run.fence, ..prior };
            }
            return Ok(is_done);
        }
        if self.options.reload || prior.version != self.run.version {
            let why = if self.options.reload { "of --reload" } else { "it was begun by another version" };
            self.notes.push(format!("load {} is not resumed because {why}; everything is written again", prior.id));
            return Ok(false);
        }
        match self.account.resume(&prior)? {
            Resumed::Yes => {
                self.is_resumed = true;
                self.run = LoadRun { state: State::Running, fence: self.run.fence, ..prior };
            }
            Resumed::Gone(name) => {
                self.notes.push(format!(
                    "load {} cannot be resumed because its reject file {name} is missing; everything is written again",
                    prior.id
                ));
            }
        }
        Ok(false)
    }

    /// Why the collection can no longer contain all documents of an earlier load; `None` if it can.
    async fn is_invalid(&self, prior: &LoadRun) -> Result<Option<&'static str>, Error> {
        if let (Some(then), Some(now)) = (prior.collection_uuid, self.uuid)
            && then != now
        {
            return Ok(Some("the collection was dropped and made again since"));
        }
        let brought = prior.counts.written + prior.counts.already_present;
        let is_short = !self.bulk.holds_at_least(brought).await.map_err(writing)?;
        Ok(is_short.then_some("the collection holds fewer documents than the load brought"))
    }

    /// Takes the lease and determines the identity of the collection.
    async fn claim(&mut self) -> Result<(), Error> {
        let claim = Claim::take(&self.ledger, &self.run.key).await.map_err(keeping)?;
        let claim = claim.map_err(|held| Error::Held(Box::new(held)))?;
        self.run.fence = claim.fence();
        self.bulk = self.bulk.clone().guarded_by(claim.guard());
        self.claim = Some(claim);
        // The collection was examined before the lease was taken. Another load may have filled it in between.
        if self.run.first_load && !self.bulk.is_empty().await.map_err(writing)? {
            if !self.plan.is_read_once() {
                return Err(Error::NoLongerEmpty);
            }
            self.run.first_load = false;
        }
        self.agree_on_identity().await
    }

    async fn agree_on_identity(&self) -> Result<(), Error> {
        let wanted = CollectionIdentity::of(&self.plan.spec, &self.plan.key);
        let LoadRun { first_load, key, .. } = &self.run;
        let settled = self.ledger.settle_identity(&wanted, *first_load, key).await.map_err(keeping)?;
        Error::if_identities_differ(self.target, &settled, &wanted)
    }

    /// Writes the load to the ledger. The load may write documents only after this.
    pub(super) async fn register(&mut self) -> Result<(), Error> {
        if self.run.sources.is_empty() {
            self.run.sources = self.plan.identities()?;
            let LoadRun { collection, spec_hash, sources, options, .. } = &self.run;
            self.run.key = LoadRun::key(collection, spec_hash, sources, options);
            self.claim().await?;
        }
        let left = self.ledger.reject_files(&self.run.key).await.map_err(reading)?;
        self.account.rejects.replaceable = left
            .into_iter()
            .map(|(load, state)| LeftFile { load: load.to_string(), bytes: state.bytes, blake3: state.blake3 })
            .collect();
        self.account.rejects.load = Some(self.run.id.to_string());
        self.account.rejects.check_named()?;
        self.ledger.supersede(&self.run.key, self.run.id, self.run.fence).await.map_err(keeping)?;
        if let Some(claim) = &self.claim {
            claim.guard().confirm().await.map_err(keeping)?;
        }
        self.ledger.put(&mut self.run).await.map_err(keeping)?;
        Ok(())
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
