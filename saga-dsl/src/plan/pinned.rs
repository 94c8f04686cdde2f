//! The types that are pinned together with a definition: those its own text declares.
//!
//! What participants registered may change while a saga runs; if the evaluator took notice of it, a replay
//! could differ from the live run. It is for the checks only.

use crate::{
    definition::Definition,
    expr::{Root, RootType, TypeEnv},
    types::Type,
};

pub(super) struct PinnedTypes {
    input: Type,
}

impl PinnedTypes {
    pub(super) fn of(definition: &Definition) -> Self {
        Self {
            input: Type::Object(definition.input.clone()),
        }
    }
}

impl TypeEnv for PinnedTypes {
    fn root(&self, root: &Root) -> RootType {
        let ty = match root {
            Root::Input => self.input.clone(),
            Root::Saga(name) if name == "started_at" => Type::Timestamp,
            Root::StepOutput(_)
            | Root::StepStatus(_)
            | Root::StepError(_)
            | Root::Saga(_)
            | Root::Own(_)
            | Root::Local(_) => Type::Any,
        };
        RootType::Known {
            ty,
            maybe_absent: None,
        }
    }
}
