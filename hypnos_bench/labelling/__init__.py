"""From a task and a cohort to labels: of epochs, windows and minutes, of whole recordings, and of persons."""
