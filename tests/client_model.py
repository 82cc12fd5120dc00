"""Prometheus' metrics as Google's protobuf reads them: an oracle for what we read and write by hand.

The schema is told here by its public field numbers (`io.prometheus.client`, metrics.proto).
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_SCALARS = {"string": 9, "double": 1, "uint64": 4, "sint32": 17, "sint64": 18, "uint32": 13, "int64": 3, "int32": 5}
_PACKAGE = "io.prometheus.client"
_SCHEMA = {
    "LabelPair": "string name 1, string value 2",
    "Timestamp": "int64 seconds 1, int32 nanos 2",
    "Gauge": "double value 1",
    "Exemplar": "*LabelPair label 1, double value 2, Timestamp timestamp 3",
    "Counter": "double value 1, Exemplar exemplar 2, Timestamp start_timestamp 3",
    "Quantile": "double quantile 1, double value 2",
    "Summary": "uint64 sample_count 1, double sample_sum 2, *Quantile quantile 3, Timestamp start_timestamp 4",
    "Untyped": "double value 1",
    "BucketSpan": "sint32 offset 1, uint32 length 2",
    "Bucket": "uint64 cumulative_count 1, double cumulative_count_float 4, double upper_bound 2, Exemplar exemplar 3",
    "Histogram": (
        "uint64 sample_count 1, double sample_count_float 4, double sample_sum 2, *Bucket bucket 3, sint32 schema 5, "
        "double zero_threshold 6, uint64 zero_count 7, double zero_count_float 8, *BucketSpan negative_span 9, "
        "*sint64 negative_delta 10, *double negative_count 11, *BucketSpan positive_span 12, "
        "*sint64 positive_delta 13, *double positive_count 14, Timestamp start_timestamp 15, *Exemplar exemplars 16"
    ),
    "Metric": (
        "*LabelPair label 1, Gauge gauge 2, Counter counter 3, Summary summary 4, Untyped untyped 5, "
        "Histogram histogram 7, int64 timestamp_ms 6"
    ),
    "MetricFamily": "string name 1, string help 2, int32 type 3, *Metric metric 4, string unit 5",
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    """`type` is a number here: its name does not matter, and an enumeration is a varint."""
    file = descriptor_pb2.FileDescriptorProto(name="client_model.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for one in fields.split(", "):
            kind, field, number = one.split()
            made = message.field.add(name=field, number=int(number), label=3 if kind.startswith("*") else 1)
            kind = kind.lstrip("*")
            if kind in _SCALARS:
                made.type = _SCALARS[kind]
                made.options.packed = made.label == 3 and kind != "string"
            else:
                made.type, made.type_name = 11, f".{_PACKAGE}.{kind}"
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())
MetricFamily: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


def read_delimited(data: bytes) -> list[Any]:
    """Read delimited messages, all of them; unread bytes are an error."""
    found, at = [], 0
    while at < len(data):
        size, shift = 0, 0
        while True:
            byte = data[at]
            size |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        assert at + size <= len(data)
        found.append(MetricFamily.FromString(data[at : at + size]))
        at += size
    return found
