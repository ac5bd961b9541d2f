//! The process that holds ONNX Runtime.

use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use gantry_analytics::models::{Features, Scores};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};
use rustix::process::{Resource, Rlimit, setrlimit};
use sha2::{Digest as _, Sha256};

use crate::protocol::{Answer, Digest, Question};

/// Memory that the worker may ask for, the library and what it maps included.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Models that are kept; the one that was not asked for longest goes.
const MODELS_MAX: usize = 8;

/// Answers questions on the standard input until it ends. Without the library every answer is why there is none.
///
/// # Errors
/// When the bounds cannot be set, or what comes is no question.
pub fn work(library: &Path) -> io::Result<()> {
    let environment = open(library).map_err(|why| format!("ONNX Runtime, {}: {why}", library.display()));
    confine()?;
    let mut questions = BufReader::new(io::stdin().lock());
    let mut answers = BufWriter::new(io::stdout().lock());
    let mut models = Vec::new();
    while let Some(question) = Question::read(&mut questions)? {
        let answer = match &environment {
            Ok(environment) => answer(environment, &mut models, question),
            Err(why) => Answer::Failed(why.clone()),
        };
        answer.write(&mut answers)?;
    }
    Ok(())
}

fn open(library: &Path) -> Result<Environment, String> {
    let found = ort::init_from(library).map_err(|error| error.to_string())?;
    found.with_name("gantry").with_telemetry(false).build().map_err(|error| error.to_string())
}

/// Bounds what a model can make of this process: from here on it opens no file and no socket, so a model cannot have
/// values in files of its own choice; it writes nothing, and takes no more memory than it may.
fn confine() -> io::Result<()> {
    for (what, most) in
        [(Resource::Nofile, 0), (Resource::Fsize, 0), (Resource::Core, 0), (Resource::As, MEMORY_BYTES_MAX)]
    {
        setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Models by digest, the one asked for last at the end.
type Kept = Vec<(Digest, Session)>;

fn answer(environment: &Environment, models: &mut Kept, question: Question) -> Answer {
    match question {
        Question::Load(model) => match load(environment, &model) {
            Ok(session) => {
                let digest = Sha256::digest(&model).into();
                models.retain(|(known, _)| *known != digest);
                if models.len() >= MODELS_MAX {
                    models.remove(0);
                }
                models.push((digest, session));
                Answer::Loaded
            }
            Err(why) => Answer::Failed(why),
        },
        Question::Predict(digest, features) => {
            let Some(at) = models.iter().position(|(known, _)| *known == digest) else { return Answer::Unknown };
            let mut one = models.remove(at);
            let scores = predict(&mut one.1, features);
            models.push(one);
            scores.map_or_else(Answer::Failed, Answer::Scored)
        }
    }
}

fn load(environment: &Environment, model: &[u8]) -> Result<Session, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let builder = Session::builder(environment).map_err(|error| words(&error))?;
    let builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(|error| words(&error))?;
    let mut builder = builder.with_intra_threads(1).map_err(|error| words(&error))?;
    builder.commit_from_memory(model).map_err(|error| words(&error))
}

/// The first output for rows that are the first input.
fn predict(session: &mut Session, features: Features) -> Result<Scores, String> {
    let rows = features.rows();
    let input = session.inputs().first().ok_or("the model has no input")?;
    let name = input.name().to_owned();
    let element = match input.dtype() {
        ValueType::Tensor { ty, .. } => *ty,
        other => return Err(format!("the first input of the model, `{name}`, is no tensor but {other:?}")),
    };
    if session.inputs().len() > 1 {
        return Err("the model has more than one input".into());
    }
    let output = session.outputs().first().ok_or("the model has no output")?.name().to_owned();
    let shape = [rows, features.columns];
    let words = |error: ort::Error| error.to_string();
    let tensor: DynValue = match element {
        TensorElementType::Float64 => {
            let values: Vec<f64> = features.values.into_iter().map(f64::from).collect();
            Tensor::from_array((shape, values)).map_err(words)?.into_dyn()
        }
        TensorElementType::Int64 => {
            // Whole as far as they are, as a cast is.
            let values: Vec<i64> = features.values.into_iter().map(|value| value as i64).collect();
            Tensor::from_array((shape, values)).map_err(words)?.into_dyn()
        }
        _ => Tensor::from_array((shape, features.values)).map_err(words)?.into_dyn(),
    };
    let outputs = session.run(ort::inputs![name => tensor]).map_err(words)?;
    let scores = scores(&outputs[output.as_str()])?;
    match scores.rows() {
        found if found == rows => Ok(scores),
        found => Err(format!("the first output of the model, `{output}`, has {found} values for {rows} rows")),
    }
}

fn scores(output: &DynValue) -> Result<Scores, String> {
    let ValueType::Tensor { ty, .. } = output.dtype() else {
        return Err(format!("the first output of the model is no tensor but {:?}", output.dtype()));
    };
    let words = |error: ort::Error| error.to_string();
    Ok(match ty {
        TensorElementType::Float32 => {
            let (_, values) = output.try_extract_tensor::<f32>().map_err(words)?;
            Scores::Numbers(values.iter().map(|value| f64::from(*value)).collect())
        }
        TensorElementType::Float64 => Scores::Numbers(output.try_extract_tensor::<f64>().map_err(words)?.1.to_vec()),
        TensorElementType::Int64 => Scores::Whole(output.try_extract_tensor::<i64>().map_err(words)?.1.to_vec()),
        TensorElementType::Int32 => {
            let (_, values) = output.try_extract_tensor::<i32>().map_err(words)?;
            Scores::Whole(values.iter().map(|value| i64::from(*value)).collect())
        }
        TensorElementType::Bool => Scores::Flags(output.try_extract_tensor::<bool>().map_err(words)?.1.to_vec()),
        TensorElementType::String => Scores::Texts(output.try_extract_strings().map_err(words)?.1),
        other => return Err(format!("the first output of the model has values of type {other:?}")),
    })
}
