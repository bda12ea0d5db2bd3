"""Annotation: label detail regions on portraits, alone or as a team, and lose nothing.

Data flows from `dataset` (a folder in the benchmark's layout) through `store` (revisions in files
and a database), which `server` and the `page` work on, to `formats` (benchmark folders, and the
files of COCO, CVAT, Label Studio and labelme).
"""

TOOL_VERSION = "1.0"
