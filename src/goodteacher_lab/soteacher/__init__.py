"""SoTeacher: a teacher trained for its student, by two regularisers."""
