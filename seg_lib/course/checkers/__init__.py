"""The exercises, a file per lesson: what each asks for, and how an answer is judged.

Every checker builds its own small input, so it judges the answer and nothing else in the notebook.
"""
