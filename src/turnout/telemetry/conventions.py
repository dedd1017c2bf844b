"""The names that telemetry uses, each in one place.

Those of OpenTelemetry's semantic conventions are as they stood in VERSION; the GenAI ones are in development, so a later
version may rename some: then this table changes, and nothing else. Names of our own begin with `turnout.`.
"""

from __future__ import annotations

VERSION = "1.44.0"
SCHEMA_URL = f"https://opentelemetry.io/schemas/{VERSION}"
SCOPE = "turnout"

# Attributes of the conventions.
OPERATION = "gen_ai.operation.name"
CONVERSATION = "gen_ai.conversation.id"
WORKFLOW = "gen_ai.workflow.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - a kind of token that isn't secret
TOOL = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
DATA_SOURCE = "gen_ai.data_source.id"
ERROR = "error.type"

# The same, of what is sent along only when content is asked for.
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
QUERY = "gen_ai.retrieval.query.text"

# Values of OPERATION.
INVOKE_WORKFLOW, CHAT, EXECUTE_TOOL, RETRIEVAL = "invoke_workflow", "chat", "execute_tool", "retrieval"

# Metrics of the conventions, with their units and buckets.
TOKENS_USED = "gen_ai.client.token.usage"
MODEL_DURATION = "gen_ai.client.operation.duration"
TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
SECOND_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)

# Attributes of our own.
THREAD = "turnout.thread"
RUN = "turnout.run"
GRAPH = "turnout.graph"
TENANT = "turnout.tenant"
PRIORITY = "turnout.priority"
FINGERPRINT = "turnout.graph.fingerprint"
STATUS = "turnout.run.status"
STEP = "turnout.step"
NODE = "turnout.node"
FAILURES = "turnout.step.failures"
OUTCOME = "turnout.step.outcome"
EFFECT = "turnout.effect"
NAME = "turnout.effect.name"
SEQ = "turnout.entry"
WRITE = "turnout.write.outcome"
VERDICT = "turnout.verdict"
GUARD, ACTION = "turnout.guard", "turnout.finding.action"
REVIEW = "turnout.review"
REVIEW_OUTCOME = "turnout.review.outcome"
ALIAS = "turnout.model.alias"
DEPLOYMENT = "turnout.model.deployment"
WHY = "turnout.model.attempt"
COST = "turnout.model.cost_micros"
PARTIAL = "turnout.partial"
"""The beginning wasn't seen by the process that tells of the end."""

# Metrics of our own.
RUNS, STEPS, STEP_DURATION = "turnout.runs", "turnout.steps", "turnout.step.duration"
VERDICTS, FINDINGS = "turnout.verdicts", "turnout.findings"
EFFECTS, COSTS, DROPPED = "turnout.effects", "turnout.model.cost", "turnout.telemetry.dropped"
