"""What ``trepctl status -name …`` and ``trepctl properties`` list: the inside of a service, scenery."""

from . import config

NAMES = ("channel-assignments", "services", "shards", "stages", "stores", "tasks", "watches")
_PACKAGE = "com.continuent.tungsten.replicator"
# stage: (extractor, its class, applier, its class, rows a block)
_STAGES = {
    "master": {
        "binlog-to-q": ("dbms", "extractor.mysql.MySQLExtractor", "queue", "storage.InMemoryQueueAdapter", 1),
        "q-to-thl": (
            "queue",
            "storage.InMemoryQueueAdapter",
            "autoflush-thl-applier",
            "thl.THLStoreApplier",
            10,
        ),
    },
    "slave": {
        "remote-to-thl": ("thl-remote", "thl.RemoteTHLExtractor", "thl-applier", "thl.THLStoreApplier", 1),
        "thl-to-q": (
            "thl-extractor",
            "thl.THLStoreExtractor",
            "parallel-q-applier",
            "storage.InMemoryQueueAdapter",
            10,
        ),
        "q-to-dbms": (
            "parallel-q-extractor",
            "storage.InMemoryQueueAdapter",
            "dbms",
            "applier.MySQLDrizzleApplier",
            10,
        ),
    },
}
_FILTERS = ("mysqlsessions", "filter.MySQLSessionSupportFilter"), ("pkey", "filter.PrimaryKeyFilter")


def listing(service, name):
    """The rows of one list; all are empty while the service is offline."""
    status = service.status()
    if status["channels"] == "-1" or status["state"].startswith("OFFLINE"):
        return []
    return {
        "services": _services,
        "shards": _shards,
        "stages": _stages,
        "stores": _stores,
        "tasks": _tasks,
    }.get(name, lambda _: [])(status)


def _services(_):
    return [
        {
            "extractor": f"{_PACKAGE}.datasource.AliasDataSource@327ae4cf",
            "global": f"{_PACKAGE}.datasource.SqlDataSource@7c9ed176",
            "name": "datasource",
            "storeClass": f"{_PACKAGE}.datasource.DataSourceService",
        },
        {
            "accessFailures": "0",
            "active": "true",
            "maxChannel": "-1",
            "name": "channel-assignment",
            "storeClass": f"{_PACKAGE}.channel.ChannelAssignmentService",
            "totalAssignments": "0",
        },
    ]


def _shards(status):
    return [
        {
            "appliedLastEventId": status["appliedLastEventId"],
            "appliedLastSeqno": status["appliedLastSeqno"],
            "appliedLatency": status["appliedLatency"],
            "eventCount": "1",
            "shardId": f"tungsten_{status['serviceName']}",
            "stage": list(_STAGES[status["role"]])[-1],
        }
    ]


def _stages(status):
    rows = []
    for name, (extractor, extractor_class, applier, applier_class, block) in _STAGES[status["role"]].items():
        row = {
            "applier.class": f"{_PACKAGE}.{applier_class}",
            "applier.name": applier,
            "blockCommitInterval": "0.0s",
            "blockCommitPolicy": "strict",
            "blockCommitRowCount": str(block),
            "committedMinSeqno": status["appliedLastSeqno"],
            "extractor.class": f"{_PACKAGE}.{extractor_class}",
            "extractor.name": extractor,
            "name": name,
            "processedMinSeqno": status["appliedLastSeqno"],
            "taskCount": "1",
        }
        if applier == "dbms":
            for number, (filter_name, filter_class) in enumerate(_FILTERS):
                row[f"filter.{number}.class"] = f"{_PACKAGE}.{filter_class}"
                row[f"filter.{number}.name"] = filter_name
        rows.append(row)
    return rows


def _stores(status):
    log = {
        "activeSeqno": status["maximumStoredSeqNo"],
        "doChecksum": "false",
        "flushIntervalMillis": "0",
        "fsyncOnFlush": "false",
        "logConnectionTimeout": "28800",
        "logDir": f"/opt/thl/{status['serviceName']}",
        "logFileRetainMillis": "604800000",
        "logFileSize": "100000000",
        "maximumStoredSeqNo": status["maximumStoredSeqNo"],
        "minimumStoredSeqNo": status["minimumStoredSeqNo"],
        "name": "thl",
        "readOnly": "false",
        "storeClass": f"{_PACKAGE}.thl.THL",
        "timeoutMillis": "2147483647",
    }
    queue = {
        "eventCount": "1",
        "maxSize": "10",
        "name": "queue",
        "storeClass": f"{_PACKAGE}.storage.InMemoryQueueStore",
        "storeSize": "0",
    }
    return [log, queue]


def _tasks(status):
    return [
        {
            "appliedLastEventId": status["appliedLastEventId"],
            "appliedLastSeqno": status["appliedLastSeqno"],
            "appliedLatency": status["appliedLatency"],
            "applyTime": "0.0",
            "averageBlockSize": "1.000     ",
            "cancelled": "false",
            "commits": "1",
            "currentBlockSize": "0",
            "currentLastEventId": status["appliedLastEventId"],
            "currentLastFragno": "0",
            "currentLastSeqno": status["appliedLastSeqno"],
            "eventCount": "1",
            "extractTime": "0.0",
            "filterTime": "0.0",
            "lastCommittedBlockSize": "-1",
            "lastCommittedBlockTime": "0.0",
            "otherTime": "0.0",
            "stage": stage,
            "state": "extract",
            "taskId": "0",
        }
        for stage in _STAGES[status["role"]]
    ]


def properties(service, wanted):
    user, _ = config.credentials()
    values = {
        "replicator.global.apply.channels": "1",
        "replicator.global.buffer.size": "10",
        "replicator.global.db.host": service.host,
        "replicator.global.db.password": "**********",
        "replicator.global.db.port": "3306",
        "replicator.global.db.sslEnabled": "false",
        "replicator.global.db.sslOptions": "",
        "replicator.global.db.user": user,
        "replicator.global.extract.db.host": service.host,
        "replicator.global.extract.db.password": "**********",
        "replicator.global.extract.db.port": "3306",
        "replicator.global.extract.db.user": user,
        "replicator.role": service.role,
        "replicator.schema": f"tungsten_{service.name}",
        "service.name": service.name,
    }
    return {key: value for key, value in values.items() if wanted in key}
