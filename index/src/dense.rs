//! The dense leg: vectors in an embedded Qdrant shard.
//!
//! Small collections are searched exactly. From [`EXACT_KB`] on an [`optimize`](Dense::optimize)
//! makes int8 copies: a search compares with all of them up to [`SCANNED_KB`], and above walks an
//! HNSW graph (Malkov & Yashunin, arXiv 1603.09320). The best candidates of both are scored again
//! with the full vectors: `search`.

use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use ingest::document::Language;
use qdrant_edge::external::serde_json::{Value, json};
use qdrant_edge::{
    CreateIndex, DEFAULT_VECTOR_NAME, Distance, EdgeConfig, EdgeOptimizersConfig, EdgeShard,
    EdgeVectorParamsBuilder, FieldIndexOperations, HnswIndexConfig, IntegerIndexParams, JsonPath,
    KeywordIndexParams, OperationError, PayloadFieldSchema, PayloadSchemaParams, PointId,
    PointInsertOperations, PointOperations, PointStruct, ScalarQuantizationConfig, ScalarType,
    UpdateOperation, WalOptions,
};

use crate::atomic_file;
use crate::filter::Facets;
use crate::hit::ChunkId;
use crate::reserve::reserve_bitmaps;
use crate::unit_vector::UnitVector;

mod read;
mod search;

pub(crate) use search::Rescore;

/// Kilobytes of full vectors up to which a search compares with each: 2,700 of 384 dimensions.
const EXACT_KB: usize = 4 << 10;

/// Kilobytes of full vectors up to which a search compares with each one's int8 copy: 22,000 of 384
/// dimensions. That reads a quarter of the memory, and with candidates to spare misses nothing.
const SCANNED_KB: usize = 32 << 10;

/// Closed segments of the shard's own log from which it is trimmed while the shard is open, where
/// there are few vectors.
const LOG_SEGMENTS_MAX: usize = 16;

/// Share of the vectors' size that the log may have otherwise. To trim it takes to open the shard
/// anew, which takes the longer the more there is: a fixed limit would cost the square.
const LOG_SHARE: usize = 4;

/// Bytes that are asked of the kernel at a time.
const READ_AHEAD_BYTES: usize = 1 << 20;

const LOG_SEGMENT_BYTES: usize = 8 << 20;

/// The dense leg of one generation. Any number of threads may search while one writes.
#[derive(Debug)]
pub(crate) struct Dense {
    dir: PathBuf,
    dim: usize,
    watermark: AtomicU64,
    shard: RwLock<Shard>,
}

/// Why the dense leg could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DenseError {
    /// A file beside the shard could not be read or written.
    #[error("the dense index at `{}` could not be read or written", dir.display())]
    Io {
        /// The leg's folder.
        dir: PathBuf,
        /// The cause, which names the file.
        source: std::io::Error,
    },
    /// The shard refused or failed.
    #[error("the dense index at `{}` could not {doing}: {detail}", dir.display())]
    Failed {
        /// The leg's folder.
        dir: PathBuf,
        /// What it was doing.
        doing: &'static str,
        /// What it said.
        detail: String,
    },
    /// A question's vector is not one of this index's embedder.
    #[error("the question has {found} dimensions, and the index has {expected}")]
    BadQuery {
        /// Dimensions of the index.
        expected: usize,
        /// Dimensions of the question.
        found: usize,
    },
}

impl Dense {
    /// Opens the leg in a folder, and creates it where there is none.
    pub(crate) fn open(dir: &Path, dim: usize) -> Result<Self, DenseError> {
        let io = |source| DenseError::Io { dir: dir.to_owned(), source };
        fs_err::create_dir_all(dir).map_err(io)?;
        let watermark = read_watermark(dir)?;
        let shard = if dir.join("edge_config.json").exists() {
            trim_log(dir).map_err(io)?;
            remove_unfinished(dir).map_err(io)?;
            reserve_bitmaps(dir).map_err(io)?;
            std::thread::scope(|scope| {
                scope.spawn(|| read_ahead(dir));
                load(dir, dim)
            })?
        } else {
            let shard = create(dir, dim)?;
            reserve_bitmaps(dir).map_err(io)?;
            shard
        };
        Ok(Self {
            dir: dir.to_owned(),
            dim,
            watermark: AtomicU64::new(watermark),
            shard: RwLock::new(shard),
        })
    }

    /// Dimensions of its vectors.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// Sequence number of the last outbox entry that is durably applied.
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// Adds chunks, or replaces those that are there.
    pub(crate) fn put<'a>(
        &self,
        chunks: impl Iterator<Item = (ChunkId, &'a Facets, &'a UnitVector)>,
    ) -> Result<(), DenseError> {
        let points: Vec<_> = chunks
            .map(|(id, facets, vector)| {
                let vector = vector.as_slice().to_vec();
                PointStruct::new(point_id(id), vector, payload(facets)).into()
            })
            .collect();
        if points.is_empty() {
            return Ok(());
        }
        let list = PointInsertOperations::PointsList(points);
        self.update(PointOperations::UpsertPoints(list))
    }

    /// Drops chunks; those that are not there do not matter.
    pub(crate) fn delete(&self, chunks: &[ChunkId]) -> Result<(), DenseError> {
        if chunks.is_empty() {
            return Ok(());
        }
        let ids = chunks.iter().map(|&it| point_id(it)).collect();
        self.update(PointOperations::DeletePoints { ids })
    }

    fn update(&self, operation: PointOperations) -> Result<(), DenseError> {
        let operation = UpdateOperation::PointOperation(operation);
        self.with(|shard| guard(&self.dir, "apply a change", || shard.update(operation)))
    }

    /// Makes all changes so far durable, and only then advances the watermark.
    pub(crate) fn commit(&self, watermark: u64) -> Result<(), DenseError> {
        self.with(|shard| flush(&self.dir, shard))?;
        let io = |source| DenseError::Io { dir: self.dir.clone(), source };
        reserve_bitmaps(&self.dir).map_err(io)?;
        atomic_file::write(&self.dir.join(WATERMARK), watermark.to_string().as_bytes())
            .map_err(io)?;
        self.watermark.store(watermark, Ordering::Release);
        let n_bytes = self.len()? * self.dim * size_of::<f32>();
        let n_segments_max = LOG_SEGMENTS_MAX.max(n_bytes / LOG_SHARE / LOG_SEGMENT_BYTES);
        if closed_log_segments(&self.dir).map_err(io)?.len() > n_segments_max {
            self.reopen()?;
        }
        Ok(())
    }

    /// Builds graphs and merges segments where that makes searches faster. Searches go on
    /// meanwhile. Nothing happens when the collection is small or already in order.
    pub(crate) fn optimize(&self) -> Result<bool, DenseError> {
        self.with(|shard| {
            let changed = guard(&self.dir, "optimise", || shard.optimize())?;
            if changed {
                flush(&self.dir, shard)?;
                reserve_bitmaps(&self.dir)
                    .map_err(|source| DenseError::Io { dir: self.dir.clone(), source })?;
            }
            Ok(changed)
        })
    }

    /// How many vectors there are.
    pub(crate) fn len(&self) -> Result<usize, DenseError> {
        self.with(|shard| Ok(shard.info().points_count))
    }

    fn with<T>(
        &self,
        action: impl FnOnce(&EdgeShard) -> Result<T, DenseError>,
    ) -> Result<T, DenseError> {
        let shard = self.shard.read().unwrap_or_else(PoisonError::into_inner);
        match &shard.0 {
            Some(shard) => action(shard),
            None => Err(DenseError::Failed {
                dir: self.dir.clone(),
                doing: "be used",
                detail: "it could not be opened again after its log was trimmed".to_owned(),
            }),
        }
    }

    /// Closes the shard, trims its log and opens it again: a matter of milliseconds.
    fn reopen(&self) -> Result<(), DenseError> {
        let mut shard = self.shard.write().unwrap_or_else(PoisonError::into_inner);
        // Closed before it is opened: the shard locks its folder.
        *shard = Shard(None);
        trim_log(&self.dir).map_err(|source| DenseError::Io { dir: self.dir.clone(), source })?;
        *shard = load(&self.dir, self.dim)?;
        Ok(())
    }
}

/// A shard that may fail to flush while it is dropped, on a full disk for instance, without
/// ending the process: whatever was not flushed is applied again from the outbox.
#[derive(Debug)]
struct Shard(Option<EdgeShard>);

impl Drop for Shard {
    fn drop(&mut self) {
        if let Some(shard) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| drop(shard))).is_err()
        {
            tracing::warn!("the dense index was closed without its last changes");
        }
    }
}

const WATERMARK: &str = "watermark";

fn read_watermark(dir: &Path) -> Result<u64, DenseError> {
    let path = dir.join(WATERMARK);
    if !path.exists() {
        return Ok(0);
    }
    let text = fs_err::read_to_string(&path)
        .map_err(|source| DenseError::Io { dir: dir.to_owned(), source })?;
    text.parse().map_err(|_| DenseError::Failed {
        dir: dir.to_owned(),
        doing: "be opened",
        detail: format!("its watermark is `{text}`"),
    })
}

fn config(dim: usize) -> EdgeConfig {
    // A dot product of unit vectors is their cosine, and leaves their bits alone.
    let vectors = EdgeVectorParamsBuilder::new(dim, Distance::Dot).on_disk(true).build();
    let int8 = ScalarQuantizationConfig {
        r#type: ScalarType::Int8,
        quantile: None,
        always_ram: Some(true),
    };
    EdgeConfig::builder()
        .vector(DEFAULT_VECTOR_NAME, vectors)
        .quantization_config(int8.into())
        .hnsw_config(HnswIndexConfig {
            full_scan_threshold: SCANNED_KB,
            ..HnswIndexConfig::default()
        })
        .optimizers(EdgeOptimizersConfig {
            indexing_threshold: Some(EXACT_KB),
            default_segment_number: Some(2),
            ..EdgeOptimizersConfig::default()
        })
        .wal_options(WalOptions { segment_capacity: LOG_SEGMENT_BYTES, ..WalOptions::default() })
        .build()
}

fn create(dir: &Path, dim: usize) -> Result<Shard, DenseError> {
    let shard = guard(dir, "be created", || EdgeShard::new(dir, config(dim)))?;
    for (field, params) in fields() {
        let operation =
            UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(CreateIndex {
                field_name: key(field),
                field_schema: Some(PayloadFieldSchema::FieldParams(params)),
            }));
        guard(dir, "be created", || shard.update(operation))?;
    }
    flush(dir, &shard)?;
    Ok(Shard(Some(shard)))
}

/// Fields that filters ask for. They stay on the disk: a chunk is listed under every folder above
/// it, which in memory would take more than the graph does, and long to load. They have no graphs of
/// their own for frequent values: the shard makes none for values of more than a twentieth of the
/// chunks, and for the others they take longer to build than all else (decision 14).
fn fields() -> [(&'static str, PayloadSchemaParams); 5] {
    let keyword = || {
        PayloadSchemaParams::Keyword(KeywordIndexParams {
            on_disk: Some(true),
            enable_hnsw: Some(false),
            ..KeywordIndexParams::default()
        })
    };
    let range = PayloadSchemaParams::Integer(IntegerIndexParams {
        lookup: Some(false),
        on_disk: Some(true),
        enable_hnsw: Some(false),
        ..IntegerIndexParams::default()
    });
    [
        ("collection", keyword()),
        ("language", keyword()),
        ("path", keyword()),
        ("groups", keyword()),
        ("modified", range),
    ]
}

/// The settings of this program replace those that the shard was made with; the next optimisation
/// brings its segments in line.
fn load(dir: &Path, dim: usize) -> Result<Shard, DenseError> {
    let shard = guard(dir, "be opened", || EdgeShard::load(dir, Some(config(dim))))?;
    Ok(Shard(Some(shard)))
}

/// Reads what the shard will hold in memory, so that it is in the kernel's cache when its turn
/// comes: a shard that is opened reads it last, after work that leaves the disk idle, and has the
/// kernel forget it each time. And full vectors that it will map: otherwise the first thousand
/// searches wait for the disk, a candidate at a time.
fn read_ahead(dir: &Path) {
    let Ok(segments) = fs_err::read_dir(dir.join("segments")) else { return };
    let files = [
        ("vector_storage/quantized.data", u64::MAX),
        ("vector_index/links_compressed.bin", u64::MAX),
        ("vector_storage/matrix.dat", search::MAPPED_BYTES_MAX as u64),
    ];
    for segment in segments.flatten() {
        for (name, bytes_max) in files {
            // Whatever cannot be read, the shard reports.
            let Ok(file) = fs_err::File::open(segment.path().join(name)) else { continue };
            if file.metadata().is_ok_and(|it| it.len() <= bytes_max) {
                let mut file = BufReader::with_capacity(READ_AHEAD_BYTES, file);
                let _ = std::io::copy(&mut file, &mut std::io::sink());
            }
        }
    }
}

/// `flush` reports a failed write by panicking.
fn flush(dir: &Path, shard: &EdgeShard) -> Result<(), DenseError> {
    guard(dir, "be flushed", || {
        shard.flush();
        Ok(())
    })
}

/// Turns errors of the shard, and panics on files that it did not expect, into ours.
fn guard<T>(
    dir: &Path,
    doing: &'static str,
    action: impl FnOnce() -> Result<T, OperationError>,
) -> Result<T, DenseError> {
    let detail = match catch_unwind(AssertUnwindSafe(action)) {
        Ok(Ok(res)) => return Ok(res),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => (*panic.downcast_ref::<&str>().unwrap_or(&"it panicked")).to_owned(),
        },
    };
    Err(DenseError::Failed { dir: dir.to_owned(), doing, detail })
}

/// The shard writes every change to a log of its own, which it never reads back and never
/// shortens: it would grow for ever. Its number of entries gives changes their versions, so the
/// newest closed segment stays.
fn trim_log(dir: &Path) -> std::io::Result<()> {
    let mut segments = closed_log_segments(dir)?;
    segments.sort_unstable();
    segments.pop();
    for (_, path) in segments {
        fs_err::remove_file(path)?;
    }
    Ok(())
}

/// An optimisation that was killed leaves the segment that it was building.
fn remove_unfinished(dir: &Path) -> std::io::Result<()> {
    let path = dir.join("temp_segments");
    if path.exists() { fs_err::remove_dir_all(path) } else { Ok(()) }
}

fn closed_log_segments(dir: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let log = dir.join("wal");
    if !log.exists() {
        return Ok(Vec::new());
    }
    let mut res = Vec::new();
    for entry in fs_err::read_dir(log)? {
        let entry = entry?;
        let name = entry.file_name();
        let start = name.to_str().and_then(|it| it.strip_prefix("closed-"));
        if let Some(start) = start.and_then(|it| it.parse().ok()) {
            res.push((start, entry.path()));
        }
    }
    Ok(res)
}

fn key(name: &str) -> JsonPath {
    name.parse().expect("a plain name is a path")
}

fn point_id(chunk: ChunkId) -> PointId {
    PointId::NumId(chunk.0.cast_unsigned())
}

fn payload(facets: &Facets) -> Value {
    json!({
        "collection": facets.collection,
        "language": facets.language.map(Language::code),
        "path": facets.path_prefixes().collect::<Vec<_>>(),
        "modified": facets.modified.map(clamp),
        "groups": facets.groups,
    })
}

/// The shard compares numbers as f64, which is exact up to here: 285 million years.
fn clamp(seconds: i64) -> i64 {
    const MAX: i64 = 1 << 53;
    seconds.clamp(-MAX, MAX)
}

#[cfg(test)]
mod tests;
