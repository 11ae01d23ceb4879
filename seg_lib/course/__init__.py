"""What a notebook of the course needs: ``Lesson`` (sizes, records, figures) and ``check``."""

from seg_lib.course.exercises import check
from seg_lib.course.lesson import Lesson

__all__ = ["Lesson", "check"]
